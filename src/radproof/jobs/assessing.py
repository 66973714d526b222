# SPDX-License-Identifier: Apache-2.0
"""Jobs of the kind "assess": a run's plan is written, `radproof assess` does it, and its row tells the result."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from radproof.core.files import write_text
from radproof.errors import BadPlan
from radproof.jobs.kinds import Kind, Outcome
from radproof.jobs.planned import materialise
from radproof.jobs.summary import read_summary, size_of
from radproof.store.files import Files
from radproof.store.settings import Settings
from radproof.store.tables import Job, Run, SavedPlan, now

_HALF = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # of core.files.atomic


def prepare(session: Session, job: Job, settings: Settings, files: Files) -> list[str]:
    """Write home/plans/RUN.json, whole; the arguments name it and the run's folder. Raises BadPlan."""
    run = session.get(Run, job.subject_id)
    plan = session.get(SavedPlan, run.plan_id) if run else None
    if run is None or plan is None:
        raise BadPlan("this run or its plan is gone")
    document = materialise(plan.document, session, settings, project=run.project_id)
    path = settings.folder("plans") / f"{run.id}.json"
    write_text(path, plain(document))
    out = settings.folder("runs", run.id)
    return ["assess", str(path), "--out", str(out), *(["--pdf"] if find_spec("weasyprint") else [])]


def finish(session: Session, job: Job, settings: Settings, outcome: Outcome) -> None:
    """What lists show of a run that is done; of every one that is over, how much of the disk it takes."""
    run = session.get(Run, job.subject_id)
    if run is None:
        return
    run.state, run.finished = job.state, now()
    folder = settings.folder("runs", run.id)
    if job.state == "done":
        run.summary = read_summary(folder / "result.json")
        sweep(folder)
    run.summary = {**run.summary, "bytes": size_of(folder)}


def follow(session: Session, job: Job) -> None:
    """A run's state is its job's."""
    run = session.get(Run, job.subject_id)
    if run is not None:
        run.state = job.state
        if job.state == "queued":
            run.finished = None


def sweep(folder: Path) -> None:
    """Remove what kills left of files that were being written; only for a folder where nobody is at work."""
    for path in folder.rglob(".*.tmp"):
        if _HALF.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def plain(value: Any) -> str:
    """JSON that a YAML reader understands alike: it takes 1e-05 for a text, and 1.0e-05 for the number."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {plain(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(plain, value)) + "]"
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text


KINDS = {"assess": Kind(prepare, finish, follow)}
