# SPDX-License-Identifier: Apache-2.0
"""Data sets: list, upload, a page for each with its audit, names, removal."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from radproof.api.front.uploads import DataAgain, DataForm
from radproof.api.http.paging import paged
from radproof.api.http.render import by_script, page
from radproof.api.people.access import Developer, Viewer, owned
from radproof.api.service import Here
from radproof.api.shelf import keeping, retrying
from radproof.api.shelf.holdings import here as of_project
from radproof.api.shelf.holdings import jobs_of, person, rows
from radproof.store.settings import MEGABYTE
from radproof.store.tables import DataSet, Run

router = APIRouter()
FOLDS = ("train", "validation", "test")
SHORTCUTS = {
    "thumbnail": "A thumbnail of the image",
    "view": "The view (PA, AP)",
    "age_sex": "Age and sex",
    "file_size": "The size of the file",
}


@router.get("/data")
def data_sets(request: Request, here: Here, who: Viewer, cursor: str | None = None) -> Response:
    """All of the project, newest first."""
    with here.database.reading() as session:
        found, following = paged(session, of_project(DataSet, who), DataSet, cursor, 25)
    return page(request, "data/list", title="Data", shown=found, cursor=cursor, following=following)


@router.get("/data/new")
def new_data(request: Request, here: Here, who: Developer) -> Response:
    """The form that uploads one."""
    most = here.settings.upload_megabytes
    return page(request, "data/new", title="Upload images", most=most, most_bytes=most * MEGABYTE)


@router.post("/data/new")
def upload(here: Here, who: Developer, form: DataForm) -> Response:
    """Keep it, and begin to import it."""
    with here.submitting() as session:
        made = keeping.make_data(
            session,
            here,
            who,
            form.file,
            name=form.fields.get("name", ""),
            told={key: form.fields.get(key, "") for key in ("classes", "multi_label", "label_tag", "strict")},
            labels=form.files.get("labels"),
            project=form.project,
        )
    return RedirectResponse(f"/data/{made.id}?said=uploaded", 303)


@router.get("/data/{id}")
def data_set(request: Request, here: Here, who: Viewer, id: str) -> Response:
    """Counts, the audit in words, what could be told without the anatomy, and what was left out."""
    with here.database.reading() as session:
        found = owned(session, DataSet, id, who)
        runs = rows(session, select(Run).where(Run.data_id == id).order_by(Run.created.desc()).limit(20))
        job = jobs_of(session, [id]).get(id)
        by = person(session, found.created_by)
    facts, audit = found.facts, _dict(found.facts.get("audit"))
    return page(
        request,
        "data/one",
        title="Data set",
        found=found,
        facts=facts,
        by=by,
        job=job,
        runs=runs,
        busy=found.state == "importing",
        asked=by_script(request),
        again=retrying.can_retry(found),
        days=here.settings.keep_failed_days,
        failed=bool(audit.get("failed")),
        findings=[str(one) for one in _list(audit.get("lines"))],
        shortcuts=[
            (SHORTCUTS.get(str(one.get("name")), one.get("name")), one) for one in _list(audit.get("shortcuts"))
        ],
        folds=_folds(facts),
        labels=[str(one) for one in _list(facts.get("labels"))],
        excluded=_list(facts.get("excluded"))[:50],
    )


@router.post("/data/{id}/rename")
def rename(here: Here, who: Developer, id: str, name: Annotated[str, Form(max_length=400)] = "") -> Response:
    """Another name."""
    with here.database.writing() as session:
        keeping.rename(session, here, who, DataSet, id, name)
    return RedirectResponse(f"/data/{id}?said=renamed", 303)


@router.post("/data/{id}/retry")
def again(here: Here, who: Developer, id: str, form: DataAgain) -> Response:
    """Try the import again; the form says everything anew."""
    told: dict[str, Any] = {key: form.fields.get(key, "") for key in ("classes", "label_tag")}
    told |= {key: keeping.is_on(form.fields.get(key, "")) for key in ("multi_label", "strict")}
    with here.submitting() as session:
        retrying.make_retry(session, here, who, DataSet, id, told, form.files.get("labels"))
    return RedirectResponse(f"/data/{id}?said=again", 303)


@router.post("/data/{id}/remove")
def remove(here: Here, who: Developer, id: str) -> Response:
    """With its upload."""
    keeping.remove_data(here, who, id)
    return RedirectResponse("/data?said=removed", 303)


def _folds(facts: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Fold -> images, patients, classes, in their order."""
    found = _dict(facts.get("folds"))
    order = [*(name for name in FOLDS if name in found), *(name for name in found if name not in FOLDS)]
    return [(name, _dict(found[name])) for name in order]


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
