# SPDX-License-Identifier: Apache-2.0
"""For the machines that watch a server: is it alive, can it work, and its figures."""

import shutil
import time
from threading import Lock

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from radproof.api.http.headers import passed_on
from radproof.api.observing.metrics import MEDIA, Metrics
from radproof.api.people.access import Caller
from radproof.api.service import Here, Service
from radproof.core.hosts import loopback
from radproof.jobs.serving import SILENCE, served

router = APIRouter()

ROOM = 10**9  # bytes that have to be free where models and runs are kept
FRESH = 1.0  # seconds for which an answer is given again


@router.get("/healthz")
def alive() -> PlainTextResponse:
    """The process answers. A supervisor that restarts servers asks here."""
    return _plain("alive")


@router.get("/readyz")
def ready(request: Request) -> PlainTextResponse:
    """It can do its work; else 503 with the reason. A load balancer asks here."""
    kept: Readiness = request.app.state.readiness
    reason = kept.reason()
    return _plain(reason, 503) if reason else _plain("ready")


@router.get("/metrics")
def metrics(request: Request, here: Here) -> Response:
    """Figures for Prometheus: for callers on this machine, and for an administrator's API key."""
    who: Caller | None = getattr(request.state, "caller", None)
    if not (who is not None and who.may("admin")) and not _from_here(request, here):
        return _plain("figures are for callers on this machine and for administrators", 401 if who is None else 403)
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=MEDIA, headers={"Cache-Control": "no-store"})


class Readiness:
    """Whether a server can do its work, found anew once a second at most: everybody may ask."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = Lock()
        self._found: tuple[str, float] | None = None

    def reason(self) -> str:
        """That of `not_ready`."""
        with self._lock:
            if self._found is None or time.monotonic() >= self._found[1]:
                self._found = not_ready(self._service), time.monotonic() + FRESH
            return self._found[0]


def not_ready(service: Service) -> str:
    """Why the server cannot do its work, in words; "" where it can."""
    if not service.database.ready():
        return "the database does not answer, or has another version's schema"
    try:
        if shutil.disk_usage(service.settings.home).free < ROOM:
            return "less than 1 GB is free where models and runs are kept"
    except OSError:
        return "the folder of models and runs cannot be read"
    try:
        if not worker_alive(service):
            return f"no worker gave a sign of life within {SILENCE.seconds} s"
    except SQLAlchemyError:
        return "the database does not answer"
    return ""


def worker_alive(service: Service) -> bool:
    """Whether one gave a sign lately."""
    with service.database.reading() as session:
        return served(session)


def _from_here(request: Request, service: Service) -> bool:
    """Behind a reverse proxy everybody seems to come from this machine, so that it proves nothing there."""
    asks = request.client
    return asks is not None and loopback(asks.host) and not service.settings.public_url and not passed_on(request)


def _plain(text: str, status: int = 200) -> PlainTextResponse:
    return PlainTextResponse(f"{text}\n", status, {"Cache-Control": "no-store"})
