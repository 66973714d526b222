# SPDX-License-Identifier: Apache-2.0
"""Jobs that make models, data sets and guards of uploads: radproof's own commands, and what their ends mean."""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy.orm import Session

from radproof.errors import BadInput
from radproof.jobs.kinds import Kind, Outcome
from radproof.jobs.leftovers import forget_upload
from radproof.jobs.summary import size_of
from radproof.store.files import Files
from radproof.store.settings import Settings
from radproof.store.tables import DataSet, File, GuardFile, Job, Model

T = TypeVar("T", Model, DataSet, GuardFile)
_ARCHITECTURE = re.compile(r"(torchvision:)?[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_GONE = "what this work is about was removed"
_LONG = 1000  # characters of an error
_CANCELLED = "the import was cancelled"


def prepare_model(session: Session, job: Job, settings: Settings, files: Files) -> list[str]:
    """`radproof model import`. Raises BadInput where the upload is gone."""
    model = _subject(session, Model, job)
    upload = _upload(session, files, model.file_id)
    told = ["model", "import", str(upload), "--out", str(settings.folder("models", model.id)), "--json", "--quiet"]
    if model.told.get("card"):
        told += ["--card", str(_upload(session, files, model.told["card"]))]
    return [*told, *_architecture(model)]


def finish_model(session: Session, job: Job, settings: Settings, outcome: Outcome) -> None:
    """Its facts, and whether it can be used; of what cannot, the upload alone is kept, to be tried again."""
    model = session.get(Model, job.subject_id)
    found = _told(job, outcome)
    if model is None or found is None:
        shutil.rmtree(settings.folder("models", job.subject_id), ignore_errors=True)
        if model is not None:
            model.state, model.error = "failed", _sentence(job, outcome, settings)
        return
    found["bytes"] = size_of(settings.folder("models", model.id))
    model.path = "/".join(["models", model.id, *([str(found["file"])] if found.get("file") else [])])
    _described(model, found)


def prepare_check(session: Session, job: Job, settings: Settings, files: Files) -> list[str]:
    """`radproof model describe --data --write`."""
    model = _subject(session, Model, job)
    data = session.get(DataSet, str(model.told.get("check", "")))
    if data is None or data.project_id != model.project_id or data.state != "ready":
        raise BadInput("the data set to try the model on is gone; choose another one")
    told = ["model", "describe", str(_place(settings, model.path)), "--data", str(_place(settings, data.path))]
    return [*told, "--write", "--json", "--quiet", *_architecture(model)]


def finish_check(session: Session, job: Job, settings: Settings, outcome: Outcome) -> None:
    """What labelled images say of it; a model that could not be tried stays as it was."""
    model = session.get(Model, job.subject_id)
    if model is None:
        return
    found = _told(job, outcome)
    if found is None:
        model.error = _sentence(job, outcome, settings)
    else:
        _described(model, found)


def prepare_data(session: Session, job: Job, settings: Settings, files: Files) -> list[str]:
    """`radproof data import`. Raises BadInput where the upload is gone."""
    data = _subject(session, DataSet, job)
    upload = _upload(session, files, data.file_id)
    told = ["data", "import", str(upload), "--out", str(settings.folder("data", data.id)), "--json", "--quiet"]
    if data.told.get("labels"):
        told += ["--labels", str(_upload(session, files, data.told["labels"]))]
    if data.told.get("classes"):
        told.append(f"--classes={data.told['classes']}")
    if data.told.get("label_tag"):
        told.append(f"--label-tag={data.told['label_tag']}")
    told += ["--strict"] if data.told.get("strict") else []
    return [*told, *(["--multi-label"] if data.told.get("multi_label") else [])]


def finish_data(session: Session, job: Job, settings: Settings, outcome: Outcome) -> None:
    """Its facts. The upload may hold patients' names: it goes once images came of it or the import was cancelled.

    Else it waits for some days to be tried again.
    """
    data = session.get(DataSet, job.subject_id)
    found = _told(job, outcome)
    if found is None or data is None:
        shutil.rmtree(settings.folder("data", job.subject_id), ignore_errors=True)
    if data is None:
        return
    if found is None:
        data.state, data.error = "failed", _sentence(job, outcome, settings)
        if job.state == "cancelled" or not settings.keep_failed_days:
            forget_upload(session, Files(settings), data)
        return
    found["bytes"] = size_of(settings.folder("data", data.id))  # the import's own figure is not relied on
    data.state, data.error, data.path, data.facts = "ready", "", f"data/{data.id}", found
    forget_upload(session, Files(settings), data)


def prepare_guard(session: Session, job: Job, settings: Settings, files: Files) -> list[str]:
    """`radproof guard`. Raises BadInput where the model or the data are gone."""
    guard = _subject(session, GuardFile, job)
    model, data = session.get(Model, guard.model_id), session.get(DataSet, guard.data_id or "")
    if model is None or data is None or model.state != "ready" or data.state != "ready":
        raise BadInput("the model or the data set that the guard is about is gone")
    out = settings.folder("guards") / f"{guard.id}.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    told = ["guard", "--model", str(_place(settings, model.path)), "--data", str(_place(settings, data.path))]
    told += ["--out", str(out), f"--detector={guard.told.get('detector', 'drift')}"]
    told += [f"--rate={float(guard.told.get('rate', 0.05))}", "--json", "--quiet"]
    return [*told, *(["--other-data"] if guard.told.get("other_data") else [])]


def finish_guard(session: Session, job: Job, settings: Settings, outcome: Outcome) -> None:
    """Its card, or why there is none."""
    guard = session.get(GuardFile, job.subject_id)
    found = _told(job, outcome)
    if guard is None or found is None:
        (settings.folder("guards") / f"{job.subject_id}.safetensors").unlink(missing_ok=True)
    if guard is None:
        return
    if found is None:
        guard.state, guard.error = "failed", _sentence(job, outcome, settings)
    else:
        guard.state, guard.error, guard.facts = "ready", "", found


KINDS = {
    "model": Kind(prepare_model, finish_model),
    "check": Kind(prepare_check, finish_check),
    "data": Kind(prepare_data, finish_data),
    "guard": Kind(prepare_guard, finish_guard),
}


def _described(model: Model, found: Mapping[str, Any]) -> None:
    kept = {key: model.facts[key] for key in ("check", "bytes") if model.facts.get(key) and not found.get(key)}
    model.facts = {**found, **kept}
    model.fingerprint, model.error = str(found.get("fingerprint", ""))[:64], ""
    model.state = "unchecked" if found.get("needs") else "ready"


def _subject(session: Session, kind: type[T], job: Job) -> T:
    found = session.get(kind, job.subject_id)
    if found is None:
        raise BadInput(_GONE)
    return found


def _upload(session: Session, files: Files, name: str | None) -> Path:
    file = session.get(File, name) if name else None
    if file is None:
        raise BadInput("the uploaded file is no longer there; upload it again")
    return files.local(file.sha256)


def _architecture(model: Model) -> list[str]:
    told = str(model.told.get("architecture", ""))
    if told and _ARCHITECTURE.fullmatch(told) is None:
        raise BadInput("architecture: expected a timm name, or torchvision:NAME")
    return [f"--architecture={told}"] if told else []


def _place(settings: Settings, path: str) -> Path:
    home = settings.home.resolve()
    place = (home / path).resolve()
    if not path or home not in place.parents:
        raise BadInput(_GONE)
    return place


def _told(job: Job, outcome: Outcome) -> dict[str, Any] | None:
    """The command's answer; None where there is none."""
    if outcome.code != 0 or job.state != "done":
        return None
    with suppress(ValueError):
        found: Any = json.loads(outcome.stdout)
        if isinstance(found, dict):
            return cast(dict[str, Any], found)
    raise BadInput("the import ended without its answer; try it again")


def _sentence(job: Job, outcome: Outcome, settings: Settings) -> str:
    """Why, without folders of the server."""
    if job.state == "cancelled":
        return _CANCELLED
    return outcome.error.replace(f"{settings.home.resolve()}/", "")[:_LONG] or "it ended without a word; try again"
