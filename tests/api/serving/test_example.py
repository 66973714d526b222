# SPDX-License-Identifier: Apache-2.0
"""A finished run in a project of its own: once, whole, for those who are there and for the first administrator."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.api.conftest import House

from radproof.api.serving.example import NAME, show
from radproof.errors import BadInput
from radproof.store.people import first_admin_link
from radproof.store.tables import DataSet, GuardFile, Invitation, Job, Membership, Model, Project, Run, SavedPlan

RESULT: dict[str, Any] = {
    "name": "serve", "title": "Drawn images", "verdict": "Easily fooled.", "phantom": True, "images": 40,
    "patients": 40, "labels": ["Normal", "Pneumonia"], "preset": "quick", "cells": [], "doubts": [],
    "timing": {"seconds": 1.0},
    "plan": {"data": {"kind": "phantom", "split": "patient", "seed": 1, "images": 40, "fold": "test"},
             "model": {"train": {}}, "attacks": [{"name": "pgd"}]},
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """As `make serve` leaves it."""
    folder = tmp_path / "run"
    for name, text in {
        "result.json": json.dumps(RESULT), "report.html": "x", "model/card.yaml": "labels: [Normal]",
        "model/weights.safetensors": "x", "data/phantoms-1/manifest.parquet": "x", "data/phantoms-1/images/a.png": "x",
        "images/b.png": "x", "work/cache": "x", "guard.safetensors": "x", "guard.json": '{"version": 1}',
        "facts.json": '{"model": {"fingerprint": "f"}, "data": {"images": 40}}',
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_everything_of_it_is_kept_once(house: House, run: Path) -> None:
    service = house.service
    assert show(service, run) is True
    assert show(service, run) is False
    with service.database.reading() as session:
        project = session.execute(select(Project).where(Project.name == NAME)).scalar_one()
        found = {
            kind: session.execute(select(kind)).scalars().all()
            for kind in (Model, DataSet, SavedPlan, Run, GuardFile, Job)
        }
    assert {kind.__name__: len(rows) for kind, rows in found.items()} == dict.fromkeys(
        ("Model", "DataSet", "SavedPlan", "Run", "GuardFile", "Job"), 1
    )
    assert all(row.project_id == project.id for rows in found.values() for row in rows)  # pyright: ignore
    model, data, plan, shown, guard = (found[kind][0] for kind in (Model, DataSet, SavedPlan, Run, GuardFile))
    home = service.settings.home
    assert (home / model.path / "card.yaml").is_file() and (home / data.path / "images" / "a.png").is_file()  # pyright: ignore
    assert (home / "guards" / f"{guard.id}.safetensors").is_file()
    assert (home / "runs" / shown.id / "images" / "b.png").is_file()
    assert not (home / "runs" / shown.id / "work").exists() and not (home / "runs" / shown.id / "guard.json").exists()
    assert plan.document["model"] == {"id": model.id}  # pyright: ignore
    assert plan.document["data"] == {"id": data.id, "images": 40, "seed": 1, "fold": "test"}  # pyright: ignore
    assert shown.summary["verdict"] == "Easily fooled." and shown.state == "done"  # pyright: ignore
    assert service.trail.broken() is None


def test_who_is_there_and_the_first_administrator_belong_to_it(house: House, run: Path) -> None:
    person = house.person("viewer")
    assert first_admin_link(house.service)
    show(house.service, run)
    with house.service.database.reading() as session:
        project = session.execute(select(Project.id).where(Project.name == NAME)).scalar_one()
        assert session.get(Membership, (person.id, project)) is not None
        assert session.execute(select(Invitation.project_id)).scalars().all() == [project]


@pytest.mark.parametrize("gone", ["result.json", "model/card.yaml"])
def test_what_is_no_finished_run_is_refused_and_leaves_nothing(house: House, run: Path, gone: str) -> None:
    (run / gone).unlink()
    with pytest.raises(BadInput):
        show(house.service, run)
    with house.service.database.reading() as session:
        assert session.execute(select(func.count()).select_from(Model)).scalar_one() == 0
