# SPDX-License-Identifier: Apache-2.0
"""The parts of a server, put together from its settings."""

from radproof.api.http.limits import Limits
from radproof.api.results.comparing import Comparisons
from radproof.api.runs.watching import Streams
from radproof.api.screening.screener import Screeners
from radproof.api.service import Service
from radproof.jobs.queue import Jobs
from radproof.store.database import Database
from radproof.store.files import Files
from radproof.store.settings import Settings
from radproof.store.trail import Trail


def make_service(settings: Settings) -> Service:
    """Open the database (bringing its schema up to date) and everything that works on it."""
    settings.home.mkdir(parents=True, exist_ok=True)
    settings.secret()
    database = Database(settings.database_url)
    database.migrate()
    return Service(
        settings=settings,
        database=database,
        files=Files(settings),
        trail=Trail(database),
        jobs=Jobs(settings, database),
        screeners=Screeners(settings),
        comparisons=Comparisons(),
        streams=Streams(),
        limits=Limits(settings),
    )
