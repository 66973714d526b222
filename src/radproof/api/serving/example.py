# SPDX-License-Identifier: Apache-2.0
"""A finished run of the command line in a project of its own, so that a new server has something to show."""

import json
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from radproof.api.service import Service
from radproof.api.serving.example_facts import GUARD, GUARD_FACTS, KEPT, data_facts, kept, model_facts
from radproof.core.records import digest
from radproof.errors import BadInput
from radproof.jobs.summary import read_summary
from radproof.store.ids import new_id
from radproof.store.settings import Settings
from radproof.store.tables import (
    DataSet,
    GuardFile,
    Invitation,
    Job,
    Membership,
    Model,
    Project,
    Run,
    SavedPlan,
    User,
    now,
)

NAME = "Example"


def show(service: Service, run: Path) -> bool:
    """Copy a finished run with its model, data set and guard into project "Example"; False: it was there already.

    Everybody who is there, and the first administrator to come, belongs to the project. Raises BadInput for a folder
    that is no finished run with a model of its own.
    """
    with service.database.reading() as session:
        if session.execute(select(Project.id).where(Project.name == NAME)).first():
            return False
    result = _result(run)
    made = _Made(service.settings, run)
    made.copy(result["plan"]["data"])
    with service.database.writing() as session:
        if session.execute(select(Project.id).where(Project.name == NAME)).first():  # another server was quicker
            return False
        project = Project(id=new_id("prj"), name=NAME)
        session.add(project)
        session.flush()
        made.keep(session, project.id, result)
        _invite(session, project.id)
        service.trail.add(session, "example.add", object=made.run, project=project.id)
    return True


class _Made:
    """The names under which it is kept, and its rows."""

    def __init__(self, settings: Settings, source: Path) -> None:
        self.settings, self.source = settings, source
        self.model, self.data, self.run, self.guard = new_id("mdl"), new_id("dat"), new_id("run"), new_id("grd")
        self.about_model: dict[str, Any] = {}
        self.about_data: dict[str, Any] = {}
        self.images = next(iter(sorted((source / "data").glob("*/manifest.parquet"))), None)

    def copy(self, section: dict[str, Any]) -> None:
        """Files first: what a row names is there. `section`: data of the run's plan."""
        known = kept(self.source)
        model, data = self.settings.folder("models", self.model), self.settings.folder("data", self.data)
        self._copy(self.source / "model", model)
        self.about_model = known[0] if known else model_facts(model)
        if self.images is not None:
            self._copy(self.images.parent, data)
            self.about_data = known[1] if known else data_facts(data, str(section["split"]), int(section["seed"]))
        self._copy(self.source, self.settings.folder("runs", self.run), "work", "model", GUARD, GUARD_FACTS, KEPT)
        if self.guarded:
            target = self.settings.folder("guards") / f"{self.guard}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.source / GUARD, target)

    @property
    def guarded(self) -> bool:
        """Whether a guard lies beside the run."""
        return (self.source / GUARD).is_file()

    def keep(self, session: Session, project: str, result: dict[str, Any]) -> None:
        """The rows of all that."""
        phantom = bool(result["phantom"])
        drawn = "drawn images" if phantom else "example"
        own: dict[str, Any] = {"project_id": project}
        data_id = self.data if self.images is not None else None
        model = Model(id=self.model, name=f"Small network ({drawn})", state="ready", **own)
        model.path, model.facts = f"models/{self.model}", self.about_model
        model.fingerprint = str(self.about_model.get("fingerprint", ""))
        plan = {**result["plan"], "model": {"id": self.model}, "data": self._data(result["plan"]["data"])}
        saved = SavedPlan(id=new_id("pln"), name=result["name"], document=plan, digest=digest(plan), **own)
        session.add_all([model, saved])
        if data_id is not None:
            session.add(
                DataSet(id=self.data, name=f"Chest X-rays ({drawn})", path=f"data/{self.data}", state="ready",
                        facts=self.about_data, **own)
            )  # fmt: skip
        session.flush()
        summary = read_summary(self.source / "result.json")
        session.add(
            Run(id=self.run, name=result["title"] or result["name"], plan_id=saved.id, model_id=self.model,
                data_id=data_id, state="done", summary=summary, finished=now(), **own)
        )  # fmt: skip
        session.add(
            Job(id=new_id("job"), kind="assess", subject_id=self.run, state="done", code=0, started=now(),
                finished=now(), progress={"share": 1.0}, **own)
        )  # fmt: skip
        if self.guarded:
            session.add(self._guard(data_id, own))
        session.flush()

    def _data(self, section: dict[str, Any]) -> dict[str, Any]:
        if self.images is None:
            return section
        return {"id": self.data, **{key: section[key] for key in ("images", "seed", "fold") if key in section}}

    def _guard(self, data_id: str | None, own: dict[str, Any]) -> GuardFile:
        made = GuardFile(id=self.guard, model_id=self.model, data_id=data_id, state="ready", **own)
        told = self.source / GUARD_FACTS
        made.facts = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else {}
        made.told = {"detector": "drift", "rate": 0.05, "other_data": False}
        return made

    @staticmethod
    def _copy(source: Path, target: Path, *left_out: str) -> None:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*left_out), dirs_exist_ok=True)


def _invite(session: Session, project: str) -> None:
    """Those who are there, and the first administrator, whose link has no project yet."""
    for user in session.execute(select(User.id)).scalars():
        session.add(Membership(user_id=user, project_id=project))
    first = (Invitation.used.is_(None), Invitation.role == "admin", Invitation.user_id.is_(None))
    session.execute(update(Invitation).where(*first, Invitation.project_id.is_(None)).values(project_id=project))


def _result(run: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput(f"no finished run in {run}; make one with `radproof assess PLAN --out {run}`") from None
    if not (run / "model" / "card.yaml").is_file():
        raise BadInput(f"{run} holds no model of its own; an example is a run whose plan trains its model")
    return found
