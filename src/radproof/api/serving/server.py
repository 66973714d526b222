# SPDX-License-Identifier: Apache-2.0
"""The server as one process: its application, the socket it listens on, and the worker beside it."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import APIRouter
from fastapi.routing import APIRoute
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from radproof.api.app import PAGES, RESOURCES, create_app
from radproof.api.http.connection import HEAD, Connection
from radproof.api.observing import health, logs
from radproof.api.observing.metrics import Metrics
from radproof.api.observing.observed import PREFIX, App, Observed
from radproof.api.service import Service
from radproof.api.serving.assembly import make_service
from radproof.api.serving.beside import Beside
from radproof.errors import BadInput
from radproof.store.people import first_admin_link, server_address
from radproof.store.settings import Settings

KEEP_ALIVE = 20  # seconds that a connection may rest between requests
CONNECTIONS = 500  # at a time; more are told to come back (503)
GRACE = 6  # seconds that open requests have to end
Say = Callable[[str], None]


def site(service: Service) -> Observed:
    """The application with everything around it."""
    app = create_app(service)
    app.state.metrics = Metrics(service.database)
    app.state.readiness = health.Readiness(service)
    app.include_router(health.router, include_in_schema=False)
    inner: App = app
    return Observed(inner, app.state.metrics)


def routes() -> frozenset[str]:
    """The templates of all routes: what a log may name."""
    found = {"": [health.router, *(import_module(f"radproof.api.web.{name}").router for name in PAGES)]}
    found[PREFIX] = [import_module(f"radproof.api.v1.{name}").router for name in RESOURCES]
    kinds: list[tuple[str, APIRouter]] = [(prefix, router) for prefix, routers in found.items() for router in routers]
    return frozenset(
        f"{prefix}{route.path}" for prefix, router in kinds for route in router.routes if isinstance(route, APIRoute)
    ) | {f"{PREFIX}/openapi.json"}


def serve(settings: Settings, *, example: Path | None = None, say: Say = print) -> None:
    """Serve until SIGTERM or SIGINT, which end everything within ten seconds.

    `say` gets the address, and on the first start the one-time link for the first administrator. `example` is a
    finished run that is shown in a project of its own. Raises BadInput where the port is taken, `home` cannot be
    written to, or the database does not answer or is a later version's.
    """
    logs.configure()
    with listening(settings) as bound, opened(settings) as service:
        outer = site(service)
        logs.configure(routes=routes())
        worker = Beside(worker_command(settings), worker_environment(settings)) if settings.worker else None
        server = Server(_config(outer, settings), worker)
        address = server_address(settings, bound.getsockname()[1])
        say(f"radproof listens on {address}")
        _welcome(service, settings, address, say)
        _warn(settings)
        if example is not None:
            from radproof.api.serving.example import show

            if show(service, example):
                say("A finished run is shown in the project Example.")
        _run(server, bound, worker)


@contextmanager
def opened(settings: Settings) -> Generator[Service]:
    """Everything that a server works with. Raises BadInput saying what is wrong with folder or database."""
    _require_writable(settings.home)
    try:
        service = make_service(settings)
    except SQLAlchemyError as error:
        url = make_url(settings.database_url)
        where = "SQLite in the home folder" if not url.host else f"{url.get_backend_name()} on {url.host}"
        raise BadInput(
            f"the database does not answer ({where}: {type(error).__name__}); start it, or correct RADPROOF_DATABASE"
        ) from None
    try:
        yield service
    finally:
        service.comparisons.close()
        service.screeners.close()
        service.jobs.close()
        service.database.close()


@contextmanager
def listening(settings: Settings) -> Generator[socket.socket]:
    """The socket, taken before anything else is begun. Raises BadInput where it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        bound = socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"cannot listen on {settings.host} port {settings.port}: {(getattr(error, 'strerror', '') or error)!s}; "
            "choose another with --port or --host, or end what listens there"
        ) from None
    with bound:
        yield bound


def worker_command(settings: Settings) -> list[str]:
    """What runs beside the server."""
    return [sys.executable, "-m", "radproof", "worker", "--home", str(settings.home.resolve())]


def worker_environment(settings: Settings) -> dict[str, str]:
    """Ours, with what was told by a file or the command line."""
    told = {
        "RADPROOF_DATABASE": settings.database,
        "RADPROOF_STORE": settings.store,
        "RADPROOF_WORKER_NAME": settings.worker_name,
    }
    return {**os.environ, **{name: value for name, value in told.items() if value}}


class Server(uvicorn.Server):
    """uvicorn's, which tells the worker as soon as it is told itself."""

    def __init__(self, config: uvicorn.Config, worker: Beside | None) -> None:
        super().__init__(config)
        self._worker = worker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT came."""
        super().handle_exit(sig, frame)
        if self._worker is not None:
            self._worker.ask_to_end()


def _run(server: Server, bound: socket.socket, worker: Beside | None) -> None:
    """Until a signal comes. uvicorn raises it again at its end: it is ours to end in order, so nothing listens."""
    before = {sig: signal.signal(sig, _heard) for sig in (signal.SIGINT, signal.SIGTERM)}
    if worker is not None:
        worker.start()
    logs.logger().info("server.started")
    try:
        server.run(sockets=[bound])
    finally:
        if worker is not None:
            worker.close()
        for sig, handler in before.items():
            signal.signal(sig, handler)
        logs.logger().info("server.stopped")


def _heard(_: int, __: FrameType | None) -> None:
    """The server has acted on it."""


def _config(app: Observed, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType]
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # whose word is believed is decided around each request
        server_header=False,
        h11_max_incomplete_event_size=HEAD,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=CONNECTIONS,
        backlog=512,
    )


def _welcome(service: Service, settings: Settings, address: str, say: Say) -> None:
    """On the first start, the first administrator's link."""
    if not settings.auth:
        say("Sign-in is off: everybody on this machine is the administrator.")
        return
    link = first_admin_link(service, address)
    if link:
        say(f"The first administrator signs up here, once: {link}")


def _warn(settings: Settings) -> None:
    """Of a proxy whose word does not count, so that all people behind it share one address."""
    if settings.public_url and not settings.trusted_proxies:
        logging.getLogger("radproof").warning(
            "public_url is set and trusted_proxies is empty: behind a proxy everybody shares the limits of one address"
        )


def _require_writable(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        trial = home / f".trial-{os.getpid()}"
        trial.touch()
        with suppress(FileNotFoundError):
            trial.unlink()
    except OSError as error:
        raise BadInput(
            f"cannot write to {home} ({(error.strerror or str(error)).lower()}); give --home a folder of your own"
        ) from None
