# SPDX-License-Identifier: Apache-2.0
"""What every request works with; made once, found on the application."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from radproof.api.http.limits import Limits
from radproof.api.people.callers import Callers
from radproof.api.screening.screener import Screeners
from radproof.jobs.queue import Jobs
from radproof.store.database import Database
from radproof.store.files import Files
from radproof.store.settings import Settings
from radproof.store.trail import Trail

if TYPE_CHECKING:
    from radproof.api.results.comparing import Comparisons
    from radproof.api.runs.watching import Streams


@dataclass(frozen=True)
class Service:
    """The parts of a running server."""

    settings: Settings
    database: Database
    files: Files  # uploaded files, by hash
    trail: Trail  # who did what
    jobs: Jobs
    screeners: Screeners  # models that are kept open to screen
    comparisons: "Comparisons"  # of runs, in the background
    streams: "Streams"  # of events, that each user has open
    limits: Limits  # requests per minute
    callers: Callers = field(default_factory=Callers)  # who asked in the last seconds

    @contextmanager
    def submitting(self) -> Generator[Session]:
        """One transaction that may queue work; the engine learns of it once it is committed."""
        with self.database.writing() as session:
            yield session
        self.jobs.dispatch()


def service(request: Request) -> Service:
    """As a dependency."""
    return request.app.state.service


Here = Annotated[Service, Depends(service)]
