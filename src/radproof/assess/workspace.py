# SPDX-License-Identifier: Apache-2.0
"""A run's folder: finished batches are kept, results appear only when they are whole.

runs/NAME/
  result.json rows.parquet report.html   written last, each at once
  images/ + manifest.parquet             the adversarial images
  model/ data/ gallery/                  what the run made on its way
  work/plan.json                         which plan the batches belong to
  work/batches/<job>/<n>.npz             one file per finished batch: the unit that a kill can lose
"""

import fcntl
import json
import shutil
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from radproof.assess.plan import Plan
from radproof.core.files import atomic, write_text
from radproof.core.records import canonical_json
from radproof.errors import BadInput, BadPlan

Arrays = dict[str, np.ndarray]
DEAR = ("work/batches", "model", "surrogates", "hardened")  # what took long is kept, whatever comes after it


class Workspace:
    """The folder of one run of one plan."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"

    def has(self, job: str, batch: int) -> bool:
        """Whether this batch was finished, now or in an earlier start."""
        return zipfile.is_zipfile(self._batch(job, batch))  # a damaged file counts as not done

    def save(self, job: str, batch: int, arrays: Arrays) -> None:
        """Keep a finished batch."""
        with atomic(self._batch(job, batch)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    def load(self, job: str, batch: int) -> Arrays:
        """A finished batch."""
        with np.load(self._batch(job, batch), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def recall(self, name: str) -> dict[str, Any] | None:
        """Facts written in an earlier start, or None."""
        path = self.work / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def remember(self, name: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Write facts on the first start and return them on every later one, so that decisions stay."""
        known = self.recall(name)
        if known is None:
            write_text(self.work / f"{name}.json", canonical_json(facts))
        return json.loads(canonical_json(facts)) if known is None else known

    def insist(self, name: str, facts: dict[str, Any]) -> None:
        """Refuse to go on when what the batches were made from has changed since."""
        before = self.remember(name, facts)
        changed = sorted(key for key in facts if before.get(key) != facts[key])
        if changed:
            raise BadInput(
                f"the {' and the '.join(changed)} changed since this run was started in {self.root}; "
                "choose another --out, or add --overwrite to start again"
            )

    def _batch(self, job: str, batch: int) -> Path:
        return self.work / "batches" / job / f"{batch:04d}.npz"


@contextmanager
def open_workspace(root: Path, plan: Plan, *, overwrite: bool = False) -> Generator[Workspace]:
    """Open the run's folder for one process: new, or to go on where it was.

    Raises BadPlan when the folder belongs to another plan, BadInput when another process is at work in it or it
    holds something else. A folder made here is removed again when the input turns out to be bad.
    """
    if root.exists() and not root.is_dir():
        raise BadInput(f"{root} is a file; choose another --out")
    fresh = not root.exists()
    if not fresh and any(root.iterdir()) and not (root / "work" / "plan.json").is_file():
        raise BadInput(f"{root} exists and is no run of radproof; choose another --out")
    (root / "work").mkdir(parents=True, exist_ok=True)
    space = Workspace(root)
    try:
        with (root / "work" / "lock").open("w") as lock:
            _take(lock, root)
            if overwrite:
                _clear(root)
            _claim(space, plan)
            yield space
    except BadInput:
        if fresh and not any((root / kept).exists() for kept in DEAR):
            shutil.rmtree(root, ignore_errors=True)
        raise


def _take(lock: Any, root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BadInput(f"another process is at work in {root}; wait for it or choose another --out") from None


def _clear(root: Path) -> None:
    """Remove what the folder holds of an earlier run, but for the lock."""
    for child in (*root.iterdir(), *(root / "work").iterdir()):
        if child.name not in ("work", "lock"):
            shutil.rmtree(child) if child.is_dir() else child.unlink()


def _claim(space: Workspace, plan: Plan) -> None:
    wanted = json.loads(canonical_json(plan))
    found = space.remember("plan", wanted)
    judging = {"gate"}  # of no batch: promises may change after the work
    differing = sorted(key for key in {*wanted, *found} - judging if wanted.get(key) != found.get(key))
    if differing:
        raise BadPlan(
            f"{space.root} holds a run of another plan (different: {', '.join(differing)}); "
            "choose another --out, or add --overwrite to start again"
        )
