# SPDX-License-Identifier: Apache-2.0
"""The command `radproof worker`."""

import os
import re
import signal
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from radproof.errors import BadInput


def add_to(app: typer.Typer) -> None:
    """Register it."""
    app.command("worker", epilog="How servers and workers are set up is in docs/howto/serve.md.")(worker)


def worker(
    home: Annotated[
        Path | None, typer.Option(help="The server's folder, shared by all workers; RADPROOF_HOME by default.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="One per worker, the same after a restart; RADPROOF_WORKER_NAME by default.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The server's settings (TOML).")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Jobs at a time.")] = 1,
) -> None:
    """Do a server's jobs: assessments, imports, guards.

    Start as many as you like, on one machine or several. One that is killed loses at most a batch: it, or another one,
    goes on from there. SIGTERM gives back what is at work and ends it.
    """
    try:
        from radproof.api.observing.logs import configure
        from radproof.jobs.worker import Worker
        from radproof.store.settings import read_settings
    except ModuleNotFoundError as error:
        raise BadInput(f"a worker needs {error.name}; install radproof[service]") from None
    settings = read_settings(config, home=home, worker_name=name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", settings.worker_name):
        raise BadInput("a worker's name is made of letters, digits, dots, dashes and underscores, 64 at most")
    configure()
    one = Worker(settings, at_once=jobs)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=one.stop.set).start())  # the lock may be held here
    _end_with_parent(one.stop.set)
    one.run()


def _end_with_parent(stop: Callable[[], None]) -> None:
    """Where stdin is a pipe, whoever holds its other end started this worker: it ends when they do."""
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            threading.Thread(target=_watch, args=(stop,), name="end with the server", daemon=True).start()


def _watch(stop: Callable[[], None]) -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    stop()
