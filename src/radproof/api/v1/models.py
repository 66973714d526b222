# SPDX-License-Identifier: Apache-2.0
"""Models: upload, list, read, rename, try, remove; detectors taught for them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from radproof.api.front.idempotency import Single
from radproof.api.front.uploads import ModelForm
from radproof.api.http.etags import conditional, unchanged
from radproof.api.http.forms import form_body
from radproof.api.http.paging import Cursor, Limit, Page, paged
from radproof.api.http.problems import responses
from radproof.api.http.wanted import MODEL
from radproof.api.people.access import Caller, Developer, Viewer, owned, visible
from radproof.api.service import Here
from radproof.api.shelf import keeping, retrying
from radproof.api.shelf.holdings import job_of, jobs_of
from radproof.api.shelf.schemas import GuardOut, ModelAgain, ModelOut, NewCheck, NewGuard, Renamed, guard_out, model_out
from radproof.store.tables import GuardFile, Model

router = APIRouter(tags=["models"])
Name = Annotated[str, Path(max_length=40, description="The model's name, mdl_….")]
GuardName = Annotated[str, Path(max_length=40, description="The guard's name, grd_….")]
ProjectName = Annotated[str | None, Query(max_length=40, description="One of yours; none: all of them.")]


def told(session: Session, who: Caller, id: str) -> ModelOut:
    """A model as it is told. Raises Problem 404."""
    return model_out(owned(session, Model, id, who), job_of(session, id))


def told_guard(session: Session, who: Caller, model: str, id: str) -> GuardOut:
    """A guard of a model as it is told. Raises Problem 404."""
    return guard_out(keeping.guard_of(session, who, model, id), job_of(session, id))


@router.get("/models", responses=responses(401, 404, 422))
def list_models(
    here: Here, who: Viewer, limit: Limit = 50, cursor: Cursor = None, project: ProjectName = None
) -> Page[ModelOut]:
    """Models of your projects, newest first."""
    with here.database.reading() as session:
        found, following = paged(session, visible(Model, who, project), Model, cursor, limit)
        jobs = jobs_of(session, [one.id for one in found])
        return Page[ModelOut](items=[model_out(one, jobs.get(one.id)) for one in found], next=following)


@router.post(
    "/models",
    status_code=201,
    response_model=ModelOut,
    responses=responses(400, 401, 403, 404, 409, 413, 415, 422, 507),
    openapi_extra=form_body(
        MODEL, {"file": "A .zip of radproof's own folder, .safetensors, .pt, .pt2, .onnx, .keras or .h5."}
    ),
)
def upload_model(form: ModelForm, here: Here, who: Developer, one: Single) -> Response:
    """Upload a model; it is opened by a worker, in a guarded process. What the file is called is not kept."""

    def work(session: Session) -> ModelOut:
        made = keeping.make_model(
            session,
            here,
            who,
            form.file,
            name=form.fields.get("name", ""),
            told=form.told,
            card=form.files.get("card"),
            project=form.project,
        )
        return model_out(made, job_of(session, made.id))

    return one.made(form.asked, work, "/api/v1/models")


@router.get("/models/{id}", response_model=ModelOut, responses=responses(401, 404))
def read_model(request: Request, id: Name, here: Here, who: Viewer) -> Response:
    """One model: its state, its card, how fast it is, and what labelled images say of it."""
    with here.database.reading() as session:
        return conditional(request, told(session, who, id))


@router.patch("/models/{id}", response_model=ModelOut, responses=responses(401, 403, 404, 412, 422))
def rename_model(request: Request, id: Name, body: Renamed, here: Here, who: Developer) -> Response:
    """Another name for people."""
    with here.database.writing() as session:
        unchanged(request, told(session, who, id))
        keeping.rename(session, here, who, Model, id, body.name)
        return conditional(request, told(session, who, id))


@router.delete("/models/{id}", status_code=204, responses=responses(401, 403, 404, 409, 412))
def remove_model(request: Request, id: Name, here: Here, who: Developer) -> None:
    """Remove a model, its guards and its upload; 409 while runs are about it."""
    with here.database.reading() as session:
        unchanged(request, told(session, who, id))
    keeping.remove_model(here, who, id)


@router.post(
    "/models/{id}/retry", status_code=202, response_model=ModelOut, responses=responses(401, 403, 404, 409, 413, 422)
)
def retry_model(id: Name, body: ModelAgain, here: Here, who: Developer, one: Single) -> Response:
    """Try an import that failed again, on the upload that is kept for it; perhaps with another architecture or card."""
    said = body.model_dump(include={"architecture"}, exclude_none=True)
    with retrying.staged_card(here, who, body.card) as card:

        def work(session: Session) -> ModelOut:
            found = retrying.make_retry(session, here, who, Model, id, said, card)
            return model_out(found, job_of(session, id))

        return one.made(body, work, "/api/v1/models", 202)


@router.post(
    "/models/{id}/check", status_code=202, response_model=ModelOut, responses=responses(401, 403, 404, 409, 422)
)
def check_model(id: Name, body: NewCheck, here: Here, who: Developer, one: Single) -> Response:
    """Try a model on labelled images: its conventions are told by them, its card written where it has none."""

    def work(session: Session) -> ModelOut:
        found = keeping.make_check(session, here, who, id, data=body.data)
        return model_out(found, job_of(session, id))

    return one.made(body, work, "/api/v1/models", 202)


@router.get("/models/{id}/guards", responses=responses(401, 404, 422))
def list_guards(id: Name, here: Here, who: Viewer, limit: Limit = 50, cursor: Cursor = None) -> Page[GuardOut]:
    """What watches a model in use, newest first."""
    with here.database.reading() as session:
        owned(session, Model, id, who)
        query = visible(GuardFile, who).where(GuardFile.model_id == id)
        found, following = paged(session, query, GuardFile, cursor, limit)
        jobs = jobs_of(session, [guard.id for guard in found])
        return Page[GuardOut](items=[guard_out(guard, jobs.get(guard.id)) for guard in found], next=following)


@router.post(
    "/models/{id}/guards", status_code=201, response_model=GuardOut, responses=responses(401, 403, 404, 409, 422)
)
def add_guard(id: Name, body: NewGuard, here: Here, who: Developer, one: Single) -> Response:
    """Teach a detector what the model's clean images look like."""

    def work(session: Session) -> GuardOut:
        made = keeping.make_guard(session, here, who, id, **body.model_dump())
        return guard_out(made, job_of(session, made.id))

    return one.made(body, work, f"/api/v1/models/{id}/guards")


@router.get("/models/{id}/guards/{guard}", response_model=GuardOut, responses=responses(401, 404))
def read_guard(request: Request, id: Name, guard: GuardName, here: Here, who: Viewer) -> Response:
    """One guard: what it promises, and on how many images."""
    with here.database.reading() as session:
        return conditional(request, told_guard(session, who, id, guard))


@router.delete("/models/{id}/guards/{guard}", status_code=204, responses=responses(401, 403, 404, 412))
def remove_guard(request: Request, id: Name, guard: GuardName, here: Here, who: Developer) -> None:
    """Remove a guard."""
    with here.database.reading() as session:
        unchanged(request, told_guard(session, who, id, guard))
    keeping.remove_guard(here, who, id, guard)
