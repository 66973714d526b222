# SPDX-License-Identifier: Apache-2.0
"""A server's home with a small trained network, a plan on phantoms, and workers as processes of their own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.once import once
from tests.store.fresh import fresh

from radproof.cli import main
from radproof.jobs.queue import Jobs
from radproof.store.database import Database
from radproof.store.ids import new_id
from radproof.store.settings import Settings, read_settings
from radproof.store.tables import Job, Model, Project, Run, SavedPlan

DATA = {"kind": "phantom", "count": 60, "size": 32, "images": 8, "seed": 1}
TRAIN = {
    "architecture": "cxrnet", "input_size": 32, "hidden": 0, "dropout": 0.0, "head_epochs": 0, "epochs": 1,
    "batch": 16, "unfreeze": "all", "lr": 0.003, "precision": "fp32",
}  # fmt: skip
PLAN: dict[str, Any] = {
    "name": "tiny", "seed": 3, "data": DATA, "attacks": ["fgsm", {"name": "pgd", "steps": 8}], "budgets": ["4/255"],
    "defenses": [], "adaptive": [{"name": "pgd", "steps": 2}], "detectors": [], "smallest": None, "survival": False,
    "precision": "fp32", "batch": 1, "micro_batch": 1, "bootstrap": 100, "gallery": 1, "device": "cpu",
}  # fmt: skip


def radproof(*arguments: str) -> None:
    """The command line, in this process; what it prints is of no interest."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        patch.setattr(sys, "argv", ["radproof", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code


@pytest.fixture(scope="session")
def network(tmp_path_factory) -> Path:
    """The folder of a small network, trained once."""
    return once(tmp_path_factory.getbasetemp(), "network", _train) / "model"


def _train(folder: Path) -> None:
    from radproof import app
    from radproof.data.phantoms_on_disk import materialise_phantoms
    from radproof.data.splits import split
    from radproof.training.recipe import TrainingRecipe

    drawn = materialise_phantoms(folder / "data", count=DATA["count"], size=DATA["size"], seed=DATA["seed"])
    app.train(split(drawn, by="patient", seed=1), TrainingRecipe.model_validate({**TRAIN, "seed": 3}), folder / "model")


@dataclass
class Laboratory:
    """A home, its database, and its workers."""

    settings: Settings
    database: Database
    jobs: Jobs
    project: str
    model: str = ""
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def run(self, document: dict[str, Any] | None = None) -> tuple[str, str]:
        """(run, job), submitted and dispatched."""
        made = {**(PLAN if document is None else document), "model": {"id": self.model}}
        with self.database.writing() as session:
            plan = SavedPlan(id=new_id("pln"), project_id=self.project, name="p", document=made, digest="0" * 64)
            session.add(plan)
            session.flush()
            run = Run(
                id=new_id("run"), project_id=self.project, name="r", plan_id=plan.id, model_id=self.model
            )  # fmt: skip
            session.add(run)
            session.flush()
            job = self.jobs.submit(
                session, "assess", subject_id=run.id, project_id=self.project, created_by=None
            )  # fmt: skip
            names = (run.id, job.id)
        self.jobs.dispatch()
        return names

    def job(self, name: str) -> Job:
        with self.database.reading() as session:
            found = session.get(Job, name)
            assert found is not None
            return found

    def worker(self, name: str = "one", **environment: str) -> "subprocess.Popen[bytes]":
        home = str(self.settings.home)
        log = (self.settings.home / f"{name}.log").open("ab")
        told = {"OMP_NUM_THREADS": "1", "RADPROOF_DATABASE": self.settings.database, **environment}
        started = subprocess.Popen(
            [sys.executable, "-m", "radproof", "worker", "--home", home, "--name", name],
            env={**os.environ, **told}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        self.workers.append(started)
        return started

    def until(self, name: str, right: Callable[[Job], bool], seconds: float = 120) -> Job:
        """The job once it is so."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            found = self.job(name)
            if right(found):
                return found
            time.sleep(0.05)
        logs = "\n".join(path.read_text() for path in self.settings.home.glob("*.log"))
        pytest.fail(f"job is {found.state}, {found.progress}, {found.error}\n{logs[-4000:]}")


@pytest.fixture
def laboratory(tmp_path) -> Iterator[Laboratory]:
    """An empty one."""
    with fresh(tmp_path / "home") as database:
        made = make_laboratory(tmp_path / "home", database)
        yield made
        close(made)


@pytest.fixture
def furnished(laboratory, network) -> Laboratory:
    """One with a network that is ready."""
    return furnish(laboratory, network)


@pytest.fixture
def furnished_light(laboratory) -> Laboratory:
    """One with a row for a network that nobody will open."""
    laboratory.model = new_id("mdl")
    with laboratory.database.writing() as session:
        session.add(
            Model(
                id=laboratory.model,
                project_id=laboratory.project,
                name="n",
                path=f"models/{laboratory.model}",
                state="ready",
            )
        )
    return laboratory


def make_laboratory(home: Path, database: str = "") -> Laboratory:
    settings = read_settings(home=home, database=database)
    opened = Database(settings.database_url)
    opened.migrate()
    project = new_id("prj")
    with opened.writing() as session:
        session.add(Project(id=project, name="ours"))
    return Laboratory(settings, opened, Jobs(settings, opened), project)


def furnish(made: Laboratory, network: Path) -> Laboratory:
    made.model = new_id("mdl")
    place = made.settings.folder("models", made.model)
    shutil.copytree(network, place)
    with made.database.writing() as session:
        session.add(
            Model(id=made.model, project_id=made.project, name="n", path=f"models/{made.model}", state="ready")
        )  # fmt: skip
    return made


def close(made: Laboratory) -> None:
    for one in made.workers:
        if one.poll() is None:
            one.send_signal(signal.SIGTERM)
    for one in made.workers:
        try:
            one.wait(15)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
    made.jobs.close()
    made.database.close()
