# SPDX-License-Identifier: Apache-2.0
"""A result, interactive: everything of the report, and the figures for the budget that a reader chooses."""

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from radproof.api.http.etags import conditional_bytes
from radproof.api.http.render import page
from radproof.api.people.access import Caller, Viewer, owned
from radproof.api.results import chosen, sections
from radproof.api.results.reports import report
from radproof.api.results.showing import Showing, showing
from radproof.api.runs.history import history
from radproof.api.service import Here, Service
from radproof.store.tables import Run

router = APIRouter()
DOWNLOADS = (
    ("pdf", "PDF", "to file", "report.pdf"),
    ("html", "HTML report", "one file, nothing else needed", ""),
    ("json", "JSON", "every figure", ""),
    ("csv", "CSV", "every image", ""),
    ("md", "Markdown", "the summary", ""),
    ("junit.xml", "JUnit", "gates, for CI", "gate.junit.xml"),
    ("sarif", "SARIF", "gates, for code scanning", "gate.sarif"),
)


@dataclass(frozen=True)
class Download:
    """One form in which a result can be taken away."""

    url: str
    name: str
    about: str


def result_page(request: Request, service: Service, who: Caller, run: Run) -> HTMLResponse:
    """The page of a run that is done. Raises Problem 404 where its files are gone, 409 where they cannot be read."""
    shown = showing(service.settings, run)
    told = chosen.choose(shown.reading, request.query_params)
    with service.database.reading() as session:
        known = history(session, run)
    return page(
        request,
        "result",
        title=shown.result.title or shown.result.name or run.name,
        run=run,
        result=shown.result,
        head=_head(shown, run.id),
        slider=_slider(shown, run.id, told),
        moment=_moment(shown, run.id, told),
        rest=_rest(shown, run.id),
        downloads=_downloads(service, run),
        known=known,
        may_test=who.may("clinician"),
    )


@router.get("/runs/{run_id}/report")
def full_report(request: Request, service: Here, who: Viewer, run_id: str) -> Response:
    """The report that needs nothing else, as /api/v1/runs/{id}/report.html gives it."""
    with service.database.reading() as session:
        run = owned(session, Run, run_id, who)
    found = report(service.settings, run, "html")
    return conditional_bytes(request, found.content, found.media, headers=found.headers)


@router.get("/runs/{run_id}/moment")
def moment(request: Request, service: Here, who: Viewer, run_id: str) -> HTMLResponse:
    """The part of the page that follows the slider, class by class; for scripts."""
    with service.database.reading() as session:
        run = owned(session, Run, run_id, who)
    shown = showing(service.settings, run)
    return HTMLResponse(_moment(shown, run.id, chosen.choose(shown.reading, request.query_params)))


def _head(shown: Showing, run: str) -> Markup:
    return shown.drawn("head", run, lambda: {**sections.head(shown), "run": run})


def _slider(shown: Showing, run: str, told: chosen.Chosen) -> Markup:
    reading = shown.reading
    return shown.drawn(
        "slider",
        (run, told),
        lambda: {
            "run": run,
            "chosen": told,
            "steps": chosen.steps(reading),
            "ladders": chosen.ladders(reading),
            "defenses": reading.defenses,
        },
    )


def _moment(shown: Showing, run: str, told: chosen.Chosen) -> Markup:
    return shown.drawn(
        "moment",
        (run, told),
        lambda: {
            "run": run,
            "chosen": told,
            "steps": chosen.steps(shown.reading),
            "moments": chosen.moments(shown.reading, told),
        },
    )


def _rest(shown: Showing, run: str) -> Markup:
    return shown.drawn("rest", run, lambda: {**sections.rest(shown), "run": run})


def _downloads(service: Service, run: Run) -> list[Download]:
    folder = service.settings.folder("runs", run.id)
    return [
        Download(f"/api/v1/runs/{run.id}/report.{suffix}", name, about)
        for suffix, name, about, needs in DOWNLOADS
        if not needs or (folder / needs).is_file()
    ]
