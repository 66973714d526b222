# SPDX-License-Identifier: Apache-2.0
"""FIELD §5.1, "worker killed -9 in mid run": a job ends once, complete, and with the bytes of an uninterrupted run."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from tests.store.cluster import Cluster, running

from radproof.store.tables import Event, Run

from .conftest import PLAN, Laboratory, close, furnish, make_laboratory, radproof

SHORT = {**PLAN, "data": {**PLAN["data"], "images": 4}, "attacks": ["fgsm", {"name": "pgd", "steps": 20}]}
LONG = {
    **PLAN,
    "data": {**PLAN["data"], "count": 120, "images": 20},
    "attacks": ["fgsm", {"name": "pgd", "steps": 60}, {"name": "square", "queries": 160}],  # outlasts twenty kills
    "budgets": ["1/255", "4/255"],
}
pytestmark = pytest.mark.crash


def children(parent: int) -> list[int]:
    """Processes whose parent it is."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def gone(number: int) -> bool:
    """Ended, or only waiting to be buried."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def at_work(home: Path) -> list[str]:
    """Commands that work in this home."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            told = path.read_bytes().replace(b"\0", b" ").decode()
            if str(home) in told and "radproof assess" in told and not gone(int(path.parent.name)):
                found.append(told)
    return found


def until(right: Callable[[], bool], what: str, seconds: float = 90) -> None:
    ends = time.monotonic() + seconds
    while not right():
        if time.monotonic() > ends:
            pytest.fail(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def kept(run: Path) -> dict[str, bytes]:
    """What a run leaves, but for the time that it took."""
    result = json.loads((run / "result.json").read_text())
    del result["timing"]
    found = {"result.json": json.dumps(result, sort_keys=True).encode()}
    rows = pd.read_parquet(run / "rows.parquet").drop(columns="seconds")
    found["rows.parquet"] = rows.to_csv(index=False, float_format="%.17g").encode()
    apart = ("result.json", "rows.parquet")
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        assert path.suffix != ".tmp", name
        if path.is_file() and path.suffix not in (".html", ".pdf") and not name.startswith(("work/", *apart)):
            found[name] = path.read_bytes()
    return found


@dataclass
class Storm:
    """Kills -9, at moments drawn from a seed."""

    laboratory: Laboratory
    job: str
    rng: random.Random
    names: tuple[str, ...] = ("one",)
    kills: int = 0
    told: str = ""
    calm: bool = False  # strikes at once

    def strike(self, *, stay_down: bool = False) -> bool:
        """One kill while the job is at work; False once it is over."""
        holder = self._holder()
        if holder is None:
            return False
        if not self.calm:
            self._bide()
        if self._over():
            return False
        works = children(holder.pid)
        how = ("worker", "all", "command")[self.kills % 3]
        if how != "command":
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
        if how != "worker":
            for number in works:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(number, signal.SIGKILL)
        until(lambda: all(map(gone, works)), f"commands to end after a kill of {how}")
        self.kills += 1
        self.told += how[0]
        if how != "command" and not stay_down:
            self.laboratory.worker(self._name(holder))
        return True

    def _bide(self) -> None:
        """Until some moment in mid work, or sometimes as it starts."""
        if self.rng.random() < 0.7:
            before = self.laboratory.job(self.job).progress
            until(lambda: self._over() or self.laboratory.job(self.job).progress != before, "progress")
        time.sleep(self.rng.uniform(0, 1.5))

    def revive(self) -> None:
        """Start workers that are down."""
        alive = {self._name(one) for one in self.laboratory.workers if one.poll() is None}
        for name in set(self.names) - alive:
            self.laboratory.worker(name)

    def _over(self) -> bool:
        return self.laboratory.job(self.job).state in ("done", "failed")

    def _holder(self) -> "subprocess.Popen[bytes] | None":
        """The worker that has a command for the job running."""
        found: list[subprocess.Popen[bytes]] = []

        def there() -> bool:
            alive = [one for one in self.laboratory.workers if one.poll() is None]
            found[:] = [one for one in alive if children(one.pid)]
            return bool(found) or self._over()

        until(there, "a command")
        return found[0] if found and not self._over() else None

    def _name(self, worker: "subprocess.Popen[bytes]") -> str:
        return str(worker.args[-1])  # type: ignore[index]


def check_ended(laboratory: Laboratory, run: str, job: str) -> None:
    """Once, complete, and as without any kill."""
    ended = laboratory.until(job, lambda one: one.state in ("done", "failed"), 600)
    assert (ended.state, ended.error, ended.attempt) == ("done", "", 1)
    with laboratory.database.reading() as session:
        events = session.execute(sa.select(Event.action).where(Event.object == job)).scalars().all()
        assert events == ["job.done"]
        found = session.get(Run, run)
        assert found is not None and found.state == "done" and found.summary["images"] > 0
    until(lambda: workflows(laboratory, job) == ["SUCCESS"], "the workflow's end")
    assert at_work(laboratory.settings.home) == []
    home = laboratory.settings.home.resolve()
    other = home.parent / "uninterrupted"
    radproof("assess", str(home / "plans" / f"{run}.json"), "--out", str(other), "--quiet")
    mine, theirs = kept(home / "runs" / run), kept(other)
    assert sorted(mine) == sorted(theirs)
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert len(mine) > 5


def workflows(laboratory: Laboratory, job: str) -> list[str]:
    """States of all workflows of a job."""
    asked = "select status from {}workflow_status where workflow_uuid like '" + job + ".%'"
    if not laboratory.settings.database:
        with sqlite3.connect(laboratory.settings.home / "jobs.db") as connection:
            return [row[0] for row in connection.execute(asked.format(""))]
    with laboratory.database.engine.connect() as connection:
        return [row[0] for row in connection.execute(sa.text(asked.format("dbos.")))]


def test_worker_killed_in_mid_run_ends_with_the_same_bytes(furnished):
    """Once, the worker alone; its command alone: test_doing.py; all of these, many times: the slow ones below."""
    run, job = furnished.run(SHORT)
    furnished.worker()
    kept_there = furnished.settings.folder("runs", run) / "work"
    until(lambda: any(kept_there.rglob("*.npz")), "the first batch")
    assert Storm(furnished, job, random.Random(4), calm=True).strike()
    check_ended(furnished, run, job)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_worker_killed_twenty_times_in_mid_run_ends_with_the_same_bytes(furnished):
    run, job = furnished.run(LONG)
    furnished.worker()
    storm = Storm(furnished, job, random.Random(1))
    while storm.kills < 20:
        assert storm.strike(), f"over after {storm.kills} kills"
    check_ended(furnished, run, job)
    print(f"\n{storm.kills} kills: {storm.told}")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(2400)
def test_two_workers_on_postgresql_killed_twenty_times_and_the_database_restarted(cluster, network, tmp_path):
    laboratory = furnish(make_laboratory(tmp_path / "home", cluster.url), network)
    restarts = takeovers = 0
    try:
        run, job = laboratory.run(LONG)
        storm = Storm(laboratory, job, random.Random(2), ("one", "two"))
        storm.revive()
        while storm.kills < 20:
            down = storm.kills in (3, 9, 15)  # the other one takes over
            before = laboratory.job(job).worker
            assert storm.strike(stay_down=down), f"over after {storm.kills} kills"
            if down:
                laboratory.until(job, lambda one, was=before: one.state != "running" or one.worker not in ("", was))
                takeovers += laboratory.job(job).worker != before
                storm.revive()
            if storm.kills % 5 == 2:
                cluster.control("restart", "-m", "immediate")
                restarts += 1
        check_ended(laboratory, run, job)
        print(f"\n{storm.kills} kills: {storm.told}; {restarts} restarts of the database, {takeovers} takeovers")
    finally:
        close(laboratory)
