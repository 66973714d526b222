# SPDX-License-Identifier: Apache-2.0
"""Runs: the list, and the page of each: how far it is while it is unfinished, its result when it is done."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from radproof.api.http.paging import paged
from radproof.api.http.problems import Problem
from radproof.api.http.render import page
from radproof.api.people.access import Developer, Viewer, owned
from radproof.api.results.standing import standing
from radproof.api.runs import running
from radproof.api.runs.history import history, waiting
from radproof.api.runs.running import Verb
from radproof.api.service import Here, Service
from radproof.api.shelf.holdings import here as of_project
from radproof.api.shelf.holdings import jobs_of, names, phantoms, rows
from radproof.api.web.result import result_page
from radproof.jobs.queue import FIRST, LAST
from radproof.jobs.states import FINAL, MOVES
from radproof.store.tables import UNFINISHED, DataSet, Model, Run

router = APIRouter()
STATES = ("unfinished", "queued", "running", "paused", "done", "failed", "cancelled")
SAID: dict[Verb, str] = {"cancel": "cancelled", "pause": "paused", "resume": "resumed", "retry": "retried"}


@router.get("/runs")
def runs(
    request: Request, here: Here, who: Viewer, state: str = "", model: str = "", cursor: str | None = None
) -> Response:
    """Of the project, newest first, filtered."""
    asked = of_project(Run, who)
    if state in STATES:
        asked = asked.where(Run.state.in_(UNFINISHED if state == "unfinished" else (state,)))
    if model:
        asked = asked.where(Run.model_id == model)
    with here.database.reading() as session:
        found, following = paged(session, asked, Run, cursor, 25)
        models = rows(session, of_project(Model, who).order_by(Model.name).limit(200))
        data = names(session, DataSet, {one.data_id for one in found if one.data_id})
        used = names(session, Model, {one.model_id for one in found})
        drawn = phantoms(session, {one.data_id for one in found if one.data_id})
        jobs = jobs_of(session, [one.id for one in found if one.state in UNFINISHED])
    filters = {key: value for key, value in (("state", state), ("model", model)) if value}
    own = urlencode({**filters, **({"cursor": cursor} if cursor else {})})
    return page(
        request,
        "runs/list",
        title="Runs",
        shown=[(run, jobs.get(run.id), standing(run) if run.state == "done" else None) for run in found],
        used=used,
        data=data,
        drawn=drawn,
        models=[("", "every model"), *((one.id, one.name) for one in models)],
        states=[("", "every state"), *((one, one) for one in STATES)],
        state=state,
        model=model,
        cursor=cursor,
        own=f"/runs?{own}" if own else "/runs",
        first=f"/runs?{urlencode(filters)}" if filters else "/runs",
        following=f"/runs?{urlencode({**filters, 'cursor': following})}" if following else "",
        live=bool(jobs),
    )


@router.get("/runs/{id}")
def run(request: Request, here: Here, who: Viewer, id: str) -> Response:
    """The result of one that is done, or how far it is."""
    with here.database.reading() as session:
        found = owned(session, Run, id, who)
    if found.state != "done":
        return _live(request, here, found)
    try:
        return result_page(request, here, who, found)
    except Problem as error:  # its files are gone or damaged: it can still be run again, or removed
        return _live(request, here, found, error.status, str(error.detail))


def _live(request: Request, service: Service, run: Run, status: int = 200, wrong: str = "") -> Response:
    with service.database.reading() as session:
        known = history(session, run)
        queue = waiting(session, known.job)
    return page(
        request,
        "runs/live",
        status,
        title="Run",
        run=run,
        job=known.job,
        known=known,
        queue=queue,
        wrong=wrong,
        progress=known.job.progress if known.job else {},
        verbs=[verb for verb in running.VERBS if run.state in MOVES[verb]],
        over=run.state in FINAL,
    )


@router.post("/runs/{id}/again")
def again(here: Here, who: Developer, id: str) -> Response:
    """Another run by the same plan."""
    with here.database.reading() as session:
        run = owned(session, Run, id, who)
    made = running.start_run(here, who, plan=run.plan_id, name=run.name)
    return RedirectResponse(f"/runs/{made.id}?said=started", 303)


@router.post("/runs/{id}/priority")
def priority(here: Here, who: Developer, id: str, priority: Annotated[str, Form(max_length=10)] = "") -> Response:
    """Smaller ones go first."""
    if not priority.isdecimal() or not FIRST <= int(priority) <= LAST:
        raise Problem(422, f"priority: expected a whole number from {FIRST} (first) to {LAST} (last)")
    running.put_first(here, who, id, int(priority))
    return RedirectResponse(f"/runs/{id}?said=prioritised", 303)


@router.post("/runs/{id}/remove")
def remove(here: Here, who: Developer, id: str) -> Response:
    """With its folder."""
    running.remove_run(here, who, id)
    return RedirectResponse("/runs?said=removed", 303)


@router.post("/runs/{id}/{verb}")
def act(here: Here, who: Developer, id: str, verb: Verb) -> Response:
    """Cancel, pause, resume or retry."""
    running.act(here, who, id, verb)
    return RedirectResponse(f"/runs/{id}?said={SAID[verb]}", 303)
