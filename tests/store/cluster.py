# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of the tests' own: in a temporary folder, on the loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

# Sorts otherwise than bytes do, as most servers.
ENGLISH = ["--locale-provider=icu", "--icu-locale=en-US", "--locale=C"]


@cache
def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`: the newest that Debian has, else what the path leads to."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    told = shutil.which("initdb")
    places += [Path(told).resolve().parent] if told else []
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)


def require() -> Path:
    """The same, or a skip that says why; a failure in continuous integration."""
    found = programs()
    if found is None:
        missing = "PostgreSQL is not installed (apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@dataclass(frozen=True)
class Cluster:
    """Where it is."""

    folder: Path
    port: int

    def control(self, *arguments: str) -> None:
        """`pg_ctl`, waited for."""
        told = ["-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), *arguments]
        loose = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"
        options = ["-o", f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 {loose}"]
        _as_postgres([str(require() / "pg_ctl"), *told, *options])

    def at(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def url(self) -> str:
        """The URL of the database that every server has."""
        return self.at("postgres")


@contextmanager
def running() -> Generator[Cluster]:
    """One that runs. Skips where PostgreSQL is missing."""
    initdb = require() / "initdb"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Cluster(Path(tempfile.mkdtemp(prefix="radproof-pg-")), port)
    if os.geteuid() == 0:
        shutil.chown(made.folder, "postgres", "postgres")
    try:
        data = str(made.folder / "data")
        _as_postgres([str(initdb), "-D", data, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", *ENGLISH])
        made.control("start")
        yield made
    finally:
        with suppress(subprocess.CalledProcessError):
            made.control("stop", "-m", "immediate")
        shutil.rmtree(made.folder, ignore_errors=True)


def _as_postgres(command: list[str]) -> None:
    """PostgreSQL refuses to be root."""
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **user)
