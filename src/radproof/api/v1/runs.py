# SPDX-License-Identifier: Apache-2.0
"""Runs: start, watch, cancel, pause, resume; results and reports."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from radproof.api.front.idempotency import Single
from radproof.api.http.etags import conditional, conditional_bytes, unchanged
from radproof.api.http.paging import Cursor, Limit, Page, paged
from radproof.api.http.problems import responses
from radproof.api.people.access import Caller, Developer, Viewer, owned, visible
from radproof.api.results.exports import exported
from radproof.api.results.finished import result_text
from radproof.api.results.reports import MEDIA, Format, report
from radproof.api.runs.running import PRIORITY, Verb, act, both, chosen, make_run, put_first, remove_run
from radproof.api.runs.watching import Watched, watch
from radproof.api.service import Here, Service
from radproof.api.shelf.holdings import job_of, jobs_of
from radproof.jobs.queue import FIRST, LAST
from radproof.store.tables import Job, JobState, Run

router = APIRouter(tags=["runs"])
LONGEST = 120
Priority = Annotated[int, Field(ge=FIRST, le=LAST, description="smaller ones go first")]


class Progress(BaseModel):
    """How far the work is."""

    stage: str | None = None
    done: float | None = Field(None, description="units of the stage")
    total: float | None = Field(None, description="units of the stage")
    share: float | None = Field(None, description="of the whole run, 0 to 1; it never falls in an attempt")
    left: float | None = Field(None, description="seconds to the end of the run, about; null: not known yet")
    left_low: float | None = Field(None, description="seconds that it may well take at least")
    left_high: float | None = Field(None, description="seconds that it may well take at most")
    stage_share: float | None = Field(None, description="of the stage, 0 to 1")
    stage_left: float | None = Field(None, description="seconds to the end of the stage")
    note: str | None = None


class RunOut(BaseModel):
    """An assessment."""

    id: str
    project: str
    name: str
    plan: str
    model: str
    data: str | None = Field(description="null: drawn phantoms")
    state: JobState
    priority: int | None
    attempt: int | None
    progress: Progress
    error: str
    summary: dict[str, Any]
    created: datetime
    created_by: str | None
    started: datetime | None
    finished: datetime | None


class NewRun(BaseModel, extra="forbid"):
    """What to run: a plan that is kept, or a document."""

    plan: str | None = Field(None, max_length=64)
    document: dict[str, Any] | None = None
    name: str = Field("", max_length=LONGEST)
    priority: Priority = PRIORITY
    project: str | None = Field(None, max_length=64)


class Changed(BaseModel, extra="forbid"):
    """What may be changed of a run."""

    priority: Priority


def told(run: Run, job: Job | None) -> RunOut:
    """A row as it is told."""
    progress = job.progress if job else {}
    return RunOut(
        id=run.id,
        project=run.project_id,
        name=run.name,
        plan=run.plan_id,
        model=run.model_id,
        data=run.data_id,
        state=run.state,  # pyright: ignore[reportArgumentType]
        priority=job.priority if job else None,
        attempt=job.attempt if job else None,
        progress=Progress.model_validate({key: progress.get(key) for key in Progress.model_fields}),
        error=job.error if job else "",
        summary=run.summary,
        created=run.created,
        created_by=run.created_by,
        started=job.started if job else None,
        finished=run.finished,
    )


def all_told(session: Session, found: Sequence[Run]) -> list[RunOut]:
    """Several, with one question about their jobs."""
    newest = jobs_of(session, [run.id for run in found])
    return [told(run, newest.get(run.id)) for run in found]


def _one(here: Service, name: str, who: Caller) -> RunOut:
    with here.database.reading() as session:
        run = owned(session, Run, name, who)
        return told(run, job_of(session, run.id))


def _run(here: Service, name: str, who: Caller) -> Run:
    with here.database.reading() as session:
        return owned(session, Run, name, who)


@router.get("/runs", responses=responses(404, 422))
def runs(
    here: Here,
    who: Viewer,
    project: str | None = None,
    state: JobState | None = None,
    model: Annotated[str | None, Query(max_length=64)] = None,
    data: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[RunOut]:
    """Runs of the caller's projects, newest first."""
    query = visible(Run, who, project)
    for column, value in ((Run.state, state), (Run.model_id, model), (Run.data_id, data)):
        if value is not None:
            query = query.where(column == value.replace("\0", ""))
    with here.database.reading() as session:
        items, after = paged(session, query, Run, cursor, limit)
        return Page(items=all_told(session, items), next=after)


@router.post("/runs", status_code=201, response_model=RunOut, responses=responses(404, 409, 422))
def start(here: Here, who: Developer, asked: NewRun, once: Single) -> Response:
    """Queue an assessment."""
    found, kept = chosen(here, who, plan=asked.plan, document=asked.document, project=asked.project)

    def work(session: Session) -> RunOut:
        run = make_run(session, here, who, found, kept=kept, name=asked.name, priority=asked.priority)
        return told(run, job_of(session, run.id))

    return once.made(asked, work, "/api/v1/runs")


@router.get("/runs/{id}", response_model=RunOut, responses=responses(404))
def one(request: Request, here: Here, who: Viewer, id: str) -> Response:
    """A run and how far it is."""
    return conditional(request, _one(here, id, who))


@router.patch("/runs/{id}", responses=responses(404, 409, 412, 422))
def change(request: Request, here: Here, who: Developer, id: str, asked: Changed) -> RunOut:
    """Put it before or behind others."""
    unchanged(request, _one(here, id, who))
    put_first(here, who, id, asked.priority)
    return _one(here, id, who)


@router.delete("/runs/{id}", status_code=204, responses=responses(404, 409, 412))
def remove(request: Request, here: Here, who: Developer, id: str) -> None:
    """Remove a run that is over, with all its images."""
    unchanged(request, _one(here, id, who))
    remove_run(here, who, id)


def _act(here: Service, who: Caller, name: str, verb: Verb) -> RunOut:
    act(here, who, name, verb)
    return _one(here, name, who)


@router.post("/runs/{id}/cancel", responses=responses(404, 409))
def cancel(here: Here, who: Developer, id: str) -> RunOut:
    """Stop it for good; what is finished is kept."""
    return _act(here, who, id, "cancel")


@router.post("/runs/{id}/pause", responses=responses(404, 409))
def pause(here: Here, who: Developer, id: str) -> RunOut:
    """Stop it until it is resumed."""
    return _act(here, who, id, "pause")


@router.post("/runs/{id}/resume", responses=responses(404, 409))
def resume(here: Here, who: Developer, id: str) -> RunOut:
    """Go on with a paused one where it was."""
    return _act(here, who, id, "resume")


@router.post("/runs/{id}/retry", responses=responses(404, 409))
def retry(here: Here, who: Developer, id: str) -> RunOut:
    """Go on with a failed or cancelled one where it was."""
    return _act(here, who, id, "retry")


@router.get(
    "/runs/{id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Events `progress` until the run is over.", "content": {"text/event-stream": {}}},
        **responses(404, 429),
    },
)
def events(here: Here, who: Viewer, id: str) -> Watched:
    """Progress as server-sent events; `Last-Event-ID` is not needed, as each event tells everything."""
    with here.database.reading() as session:
        run, _ = both(session, id, who)
    return Watched(here.streams, who.user_id, watch(here.database, run.id, who))


@router.get("/runs/{id}/result", response_model=dict[str, Any], responses=responses(404))
def result(request: Request, here: Here, who: Viewer, id: str) -> Response:
    """Every figure of a finished run."""
    return conditional_bytes(request, result_text(here.settings, _run(here, id, who)).encode(), "application/json")


@router.get(
    "/runs/{id}/report.{format}",
    response_class=Response,
    responses={
        200: {"description": "The report.", "content": {media.split(";")[0]: {} for media in MEDIA.values()}},
        **responses(404, 422),
    },
)
def reported(request: Request, here: Here, who: Viewer, id: str, format: Format) -> Response:
    """The report of a finished run: html, pdf, json, csv (every image), md, junit.xml and sarif (gates)."""
    run = _run(here, id, who)
    found = report(here.settings, run, format)
    answer = conditional_bytes(request, found.content, found.media, headers=found.headers)
    if answer.status_code == 200:
        exported(here, who, run, format)
    return answer
