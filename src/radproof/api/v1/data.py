# SPDX-License-Identifier: Apache-2.0
"""Data sets: upload, list, read, rename, remove."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from radproof.api.front.idempotency import Single
from radproof.api.front.uploads import DataForm
from radproof.api.http.etags import conditional, unchanged
from radproof.api.http.forms import form_body
from radproof.api.http.paging import Cursor, Limit, Page, paged
from radproof.api.http.problems import responses
from radproof.api.http.wanted import DATA
from radproof.api.people.access import Caller, Developer, Viewer, owned, visible
from radproof.api.service import Here
from radproof.api.shelf import keeping, retrying
from radproof.api.shelf.holdings import job_of, jobs_of
from radproof.api.shelf.schemas import DataAgain, DataOut, Renamed, data_out
from radproof.store.tables import DataSet

router = APIRouter(tags=["data"])
Name = Annotated[str, Path(max_length=40, description="The data set's name, dat_….")]
ProjectName = Annotated[str | None, Query(max_length=40, description="One of yours; none: all of them.")]


def told(session: Session, who: Caller, id: str) -> DataOut:
    """A data set as it is told. Raises Problem 404."""
    return data_out(owned(session, DataSet, id, who), job_of(session, id))


@router.get("/data", responses=responses(401, 404, 422))
def list_data(
    here: Here, who: Viewer, limit: Limit = 50, cursor: Cursor = None, project: ProjectName = None
) -> Page[DataOut]:
    """Data sets of your projects, newest first."""
    with here.database.reading() as session:
        found, following = paged(session, visible(DataSet, who, project), DataSet, cursor, limit)
        jobs = jobs_of(session, [one.id for one in found])
        return Page[DataOut](items=[data_out(one, jobs.get(one.id)) for one in found], next=following)


@router.post(
    "/data",
    status_code=201,
    response_model=DataOut,
    responses=responses(400, 401, 403, 404, 409, 413, 415, 422, 507),
    openapi_extra=form_body(DATA, {"file": "A .zip of images.", "labels": "A CSV that says what each image shows."}),
)
def upload_data(form: DataForm, here: Here, who: Developer, one: Single) -> Response:
    """Upload images in a zip: a folder per class, a table of labels, DICOM, NIfTI, or a manifest with its images.

    A worker keeps the pixels as PNG files, with pseudonyms for patients; the archive and the originals are removed.
    """

    def work(session: Session) -> DataOut:
        made = keeping.make_data(
            session,
            here,
            who,
            form.file,
            name=form.fields.get("name", ""),
            told=form.told,
            labels=form.files.get("labels"),
            project=form.project,
        )
        return data_out(made, job_of(session, made.id))

    return one.made(form.asked, work, "/api/v1/data")


@router.post("/data/{id}/retry", status_code=202, response_model=DataOut, responses=responses(401, 403, 404, 409, 422))
def retry_data(id: Name, body: DataAgain, here: Here, who: Developer, one: Single) -> Response:
    """Try an import that failed again, on the upload that is kept for it; what is given replaces what was said."""

    def work(session: Session) -> DataOut:
        found = retrying.make_retry(session, here, who, DataSet, id, body.model_dump(exclude_none=True))
        return data_out(found, job_of(session, id))

    return one.made(body, work, "/api/v1/data", 202)


@router.get("/data/{id}", response_model=DataOut, responses=responses(401, 404))
def read_data(request: Request, id: Name, here: Here, who: Viewer) -> Response:
    """One data set: its state, what it holds, what was left out and why, and its audit."""
    with here.database.reading() as session:
        return conditional(request, told(session, who, id))


@router.patch("/data/{id}", response_model=DataOut, responses=responses(401, 403, 404, 412, 422))
def rename_data(request: Request, id: Name, body: Renamed, here: Here, who: Developer) -> Response:
    """Another name for people."""
    with here.database.writing() as session:
        unchanged(request, told(session, who, id))
        keeping.rename(session, here, who, DataSet, id, body.name)
        return conditional(request, told(session, who, id))


@router.delete("/data/{id}", status_code=204, responses=responses(401, 403, 404, 409, 412))
def remove_data(request: Request, id: Name, here: Here, who: Developer) -> None:
    """Remove a data set; 409 while runs are about it."""
    with here.database.reading() as session:
        unchanged(request, told(session, who, id))
    keeping.remove_data(here, who, id)
