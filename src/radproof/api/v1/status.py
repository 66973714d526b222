# SPDX-License-Identifier: Apache-2.0
"""The version, and how the server is."""

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import func, select

from radproof import __version__
from radproof.api.http.problems import responses
from radproof.api.observing.health import worker_alive
from radproof.api.people.access import Viewer
from radproof.api.service import Here, Service
from radproof.jobs.states import HELD
from radproof.store.tables import Job

router = APIRouter(tags=["status"])


class Status(BaseModel):
    """How the server is."""

    version: str
    worker: bool = Field(description="Whether a worker gave a sign of life lately; without one, jobs wait.")
    queued: int = Field(ge=0, description="Jobs that wait, of all projects.")
    running: int = Field(ge=0, description="Jobs at work, of all projects.")


@router.get("/status", responses=responses(401, 429))
def status(here: Here, who: Viewer) -> Status:
    """The version, whether a worker is alive, and how long the queue is."""
    return how_it_is(here)


def how_it_is(service: Service) -> Status:
    """For the resource and for pages."""
    with service.database.reading() as session:
        counted = {state: n for state, n in session.execute(select(Job.state, func.count()).group_by(Job.state))}
    return Status(
        version=__version__,
        worker=worker_alive(service),
        queued=counted.get("queued", 0),
        running=sum(counted.get(state, 0) for state in HELD),
    )
