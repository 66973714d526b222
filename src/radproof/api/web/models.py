# SPDX-License-Identifier: Apache-2.0
"""Models: list, upload, a page for each, guards, names, removal."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from radproof.api.front.uploads import ModelAgain, ModelForm
from radproof.api.http.paging import paged
from radproof.api.http.problems import Problem
from radproof.api.http.render import by_script, page
from radproof.api.people.access import Developer, Viewer, owned
from radproof.api.plans.catalogue import parts
from radproof.api.results.standing import Standing, standing, trend
from radproof.api.service import Here
from radproof.api.shelf import keeping, retrying
from radproof.api.shelf.holdings import here as of_project
from radproof.api.shelf.holdings import jobs_of, names, person, phantoms, rows, runs_of
from radproof.store.settings import MEGABYTE
from radproof.store.tables import UNFINISHED, DataSet, GuardFile, Model, Run

router = APIRouter()
Text = Annotated[str, Form(max_length=400)]
Cursor = str | None


@router.get("/models")
def models(request: Request, here: Here, who: Viewer, cursor: Cursor = None) -> Response:
    """All of the project, newest first."""
    with here.database.reading() as session:
        found, following = paged(session, of_project(Model, who), Model, cursor, 25)
        runs = runs_of(session, found)
        shown = [(one, runs[one.id].count, next(iter(runs[one.id].newest), None)) for one in found]
        drawn = phantoms(session, {last.data_id for _, _, last in shown if last and last.data_id})
    return page(request, "models/list", title="Models", shown=shown, drawn=drawn, cursor=cursor, following=following)


@router.get("/models/new")
def new_model(request: Request, here: Here, who: Developer) -> Response:
    """The form that uploads one."""
    most = here.settings.upload_megabytes
    return page(request, "models/new", title="Upload a model", most=most, most_bytes=most * MEGABYTE)


@router.post("/models/new")
def upload(here: Here, who: Developer, form: ModelForm) -> Response:
    """Keep it, and begin to check it."""
    with here.submitting() as session:
        made = keeping.make_model(
            session,
            here,
            who,
            form.file,
            name=form.fields.get("name", ""),
            told={"architecture": form.fields.get("architecture", "")},
            card=form.files.get("card"),
            project=form.project,
        )
    return RedirectResponse(f"/models/{made.id}?said=uploaded", 303)


@router.get("/models/{id}")
def model(request: Request, here: Here, who: Viewer, id: str) -> Response:
    """Its card, what the checks found, its runs and its guards."""
    with here.database.reading() as session:
        found = owned(session, Model, id, who)
        runs = rows(session, select(Run).where(Run.model_id == id).order_by(Run.created.desc()).limit(50))
        last = [standing(one) for one in runs_of(session, [found])[id].of("done")]
        guards = rows(session, select(GuardFile).where(GuardFile.model_id == id).order_by(GuardFile.created.desc()))
        teaching = [one.id for one in guards if one.state == "teaching"]
        jobs = jobs_of(session, [id, *teaching])
        asked = select(DataSet).where(DataSet.project_id == found.project_id, DataSet.state == "ready")
        data = rows(session, asked.order_by(DataSet.created.desc()).limit(100))
        drawn = phantoms(session, {one.data_id for one in runs if one.data_id})
        used = names(session, DataSet, {one.data_id for one in (*runs, *guards) if one.data_id})
        by = person(session, found.created_by)
    done = [standing(run) for run in runs if run.state == "done"]
    job = jobs.get(id)
    working = found.state == "importing" or (job is not None and job.state in UNFINISHED)
    return page(
        request,
        "models/one",
        title="Model",
        model=found,
        by=by,
        job=job,
        busy=working or bool(teaching),
        working=working,
        asked=by_script(request),
        again=retrying.can_retry(found),
        teacher=next((jobs[one] for one in teaching if one in jobs), None),
        states=["state", *(f"state-{one.id}" for one in guards)],
        drawn=drawn,
        runs=runs,
        done={one.run.id: one for one in done},
        last=last[0] if last else None,
        trend=trend(last),
        guards=guards,
        data=data,
        data_names=used,
        pairs=_pairs,
        picked=_picked,
        detectors_named={one.name: one.title for one in parts()["detector"].values()},
        detectors=[(one.name, one.title) for one in parts()["detector"].values()],
    )


@router.post("/models/{id}/rename")
def rename(here: Here, who: Developer, id: str, name: Text = "") -> Response:
    """Another name."""
    with here.database.writing() as session:
        keeping.rename(session, here, who, Model, id, name)
    return _back(id, "renamed")


@router.post("/models/{id}/remove")
def remove(here: Here, who: Developer, id: str) -> Response:
    """With its guards and its upload."""
    keeping.remove_model(here, who, id)
    return RedirectResponse("/models?said=removed", 303)


@router.post("/models/{id}/retry")
def again(here: Here, who: Developer, id: str, form: ModelAgain) -> Response:
    """Try the import again."""
    told = {"architecture": form.fields.get("architecture", "")}
    with here.submitting() as session:
        retrying.make_retry(session, here, who, Model, id, told, form.files.get("card"))
    return _back(id, "again")


@router.post("/models/{id}/check")
def check(here: Here, who: Developer, id: str, data: Text = "") -> Response:
    """Try it on labelled images."""
    with here.submitting() as session:
        keeping.make_check(session, here, who, id, data=data)
    return _back(id, "uploaded")


@router.post("/models/{id}/guards")
def teach(
    here: Here,
    who: Developer,
    id: str,
    data: Text = "",
    detector: Text = "drift",
    rate: Text = "5",
    other_data: Text = "",
) -> Response:
    """Teach a guard; `rate` is in per cent."""
    share, other = _share(rate), other_data == "yes"
    with here.submitting() as session:
        keeping.make_guard(session, here, who, id, data=data, detector=detector, rate=share, other_data=other)
    return _back(id, "teaching")


@router.post("/models/{id}/guards/{guard}/remove")
def forget(here: Here, who: Developer, id: str, guard: str) -> Response:
    """Remove a guard."""
    keeping.remove_guard(here, who, id, guard)
    return _back(id, "removed")


def _pairs(found: list[DataSet]) -> list[tuple[str, str]]:
    return [(one.id, one.name) for one in found]


def _picked(done: dict[str, Standing], at: int) -> str:
    """The run that a comparison begins with: the newest is compared with the one before it."""
    return list(done)[min(at, len(done) - 1)]


def _share(text: str) -> float:
    try:
        return float(text) / 100
    except ValueError:
        raise Problem(422, "rate: expected the false alarms that are allowed, in per cent") from None


def _back(id: str, said: str) -> Response:
    return RedirectResponse(f"/models/{id}?said={said}", 303)
