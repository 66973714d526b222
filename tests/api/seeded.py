# SPDX-License-Identifier: Apache-2.0
"""One of everything in project "ours", with the folder of a run that was really made."""

import os
import secrets
import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import House, Person
from tests.once import once

from radproof import app
from radproof.assess.plan import make_plan
from radproof.jobs.summary import read_summary
from radproof.store.ids import new_id
from radproof.store.tables import (
    ApiKey,
    DataSet,
    File,
    GuardFile,
    Invitation,
    Job,
    Model,
    ReaderTest,
    Run,
    SavedPlan,
    now,
)

PLAN = {
    "name": "tiny",
    "title": "Tiny",
    "seed": 1,
    "data": {"kind": "phantom", "count": 60, "size": 32, "seed": 1, "images": 8},
    "model": {
        "train": {
            "architecture": "cxrnet",
            "input_size": 32,
            "hidden": 0,
            "dropout": 0.0,
            "head_epochs": 0,
            "epochs": 2,
            "batch": 16,
            "unfreeze": "all",
            "lr": 0.003,
            "precision": "fp32",
        }
    },
    "attacks": [{"name": "pgd", "steps": 2}],
    "budgets": ["1/255", "16/255"],
    "defenses": ["jpeg"],
    "adaptive": [{"name": "pgd", "steps": 1}],
    "smallest": None,
    "survival": False,
    "precision": "fp32",
    "batch": 8,
    "bootstrap": 100,
    "gallery": 2,
    "gate": ["clean_accuracy >= 0.01"],
}


SHORT = {
    "radproof.assess.bench.STEPS": (2, 2),
    "radproof.assess.bench.LONGER": (3, 3),
    "radproof.assess.bench.HUGE_STEPS": 2,
    "radproof.assess.bench.QUERIES": 5,
    "radproof.assess.probes.LEAST": 5,
}


@cache
def finished_run(base: Path) -> Path:
    """The folder of a finished run, made once for all tests; `base`: tmp_path_factory.getbasetemp()."""
    return once(base, "tiny", lambda folder: assessed(PLAN, folder / "run")) / "run"


def assessed(plan: dict[str, Any], out: Path) -> None:
    """Do the plan with short probes: they would take most of a small run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setattr(name, value)
        app.assess(make_plan(plan, base=out.parent), out)


@dataclass(frozen=True)
class Seeds:
    """Names of what there is."""

    model: str
    data: str
    plan: str
    run: str
    guard: str
    reader: str
    file: str
    job: str
    key: str
    invitation: str

    @property
    def names(self) -> dict[str, str]:
        """Kind -> name."""
        return {name.partition("_")[0]: name for name in vars(self).values()}


def seed(house: House, folder: Path | None, person: Person | None = None) -> Seeds:
    """One of everything in the project of `person`; `folder`: that of a finished run, else the run has no result."""
    person = person or house.person("developer")
    who = {"project_id": person.project, "created_by": person.id}
    seeds = Seeds(*(new_id(kind) for kind in ("mdl", "dat", "pln", "run", "grd", "rdr", "fil", "job", "key", "inv")))  # type: ignore[arg-type]
    summary = {}
    if folder is not None:
        there = house.service.settings.folder("runs", seeds.run)
        shutil.copytree(folder, there, copy_function=os.link)
        summary = read_summary(there / "result.json")
    document = {key: value for key, value in PLAN.items() if key != "model"} | {"model": {"id": seeds.model}}
    with house.service.database.writing() as session:
        session.add(File(id=seeds.file, sha256="0" * 64, size=1, suffix=".zip", **who))
        session.flush()
        model = {"path": f"models/{seeds.model}", "state": "ready", "fingerprint": "1" * 64, "file_id": seeds.file}
        session.add(Model(id=seeds.model, name="A model", **model, **who))
        session.add(DataSet(id=seeds.data, name="Images", path=f"data/{seeds.data}", state="ready", **who))
        session.add(SavedPlan(id=seeds.plan, name="A plan", document=document, digest="2" * 64, **who))
        session.flush()
        state = {"state": "done", "summary": summary, "finished": now()}
        session.add(
            Run(id=seeds.run, name="A run", plan_id=seeds.plan, model_id=seeds.model, data_id=None, **state, **who)
        )
        session.add(GuardFile(id=seeds.guard, model_id=seeds.model, data_id=seeds.data, state="ready", **who))
        session.flush()
        session.add(ReaderTest(id=seeds.reader, name="A test", run_id=seeds.run, seed=1, **who))
        session.add(Job(id=seeds.job, kind="assess", subject_id=seeds.run, state="done", **who))
        later = now() + timedelta(days=1)
        session.add(ApiKey(id=seeds.key, hash=secrets.token_hex(32), user_id=person.id, name="A key"))
        link = {"hash": secrets.token_hex(32), "project_id": person.project, "expires": later}
        session.add(Invitation(id=seeds.invitation, **link))
    return seeds


def until(what, seconds: float = 20.0):
    """The first answer that is true, asked again and again."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
    return found
