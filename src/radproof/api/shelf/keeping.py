# SPDX-License-Identifier: Apache-2.0
"""What lies on a project's shelf: models, data sets and guards, put there, renamed, removed.

`make_…` queue work in the caller's transaction, which is `service.submitting()`; `remove_…` are whole transactions.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller, called, home_project, owned
from radproof.api.service import Service
from radproof.api.shelf.clearing import guard_of as guard_of
from radproof.api.shelf.clearing import remove_data as remove_data
from radproof.api.shelf.clearing import remove_guard as remove_guard
from radproof.api.shelf.clearing import remove_model as remove_model
from radproof.api.shelf.holdings import checked_name, job_of, tell, word
from radproof.api.shelf.room import check_room, keep_file
from radproof.api.shelf.schemas import MOST_ALARMS, detectors
from radproof.store.ids import Kind, new_id
from radproof.store.incoming import Staged
from radproof.store.tables import UNFINISHED, DataSet, GuardFile, Model

T = TypeVar("T", Model, DataSet)
_KINDS: dict[type[Any], Kind] = {Model: "mdl", DataSet: "dat"}


def make_model(
    session: Session,
    service: Service,
    who: Caller,
    file: Staged,
    *,
    name: str = "",
    told: Mapping[str, str] | None = None,
    card: Staged | None = None,
    project: str | None = None,
) -> Model:
    """Keep an upload and begin to import it as a model. `told`: architecture, of a file of weights alone."""
    said = {key: text for key, text in (told or {}).items() if key == "architecture" and text}
    return _make(session, service, who, Model, file, name, said, {"card": card}, project)


def make_data(
    session: Session,
    service: Service,
    who: Caller,
    file: Staged,
    *,
    name: str = "",
    told: Mapping[str, str] | None = None,
    labels: Staged | None = None,
    project: str | None = None,
) -> DataSet:
    """Keep an upload and begin to import it as a data set.

    `told`: classes (with commas), multi_label, label_tag, strict (no file that cannot be read is left out).
    """
    said: dict[str, Any] = {key: text for key, text in (told or {}).items() if key in ("classes", "label_tag") and text}
    said |= {key: True for key in ("multi_label", "strict") if is_on((told or {}).get(key, ""))}
    return _make(session, service, who, DataSet, file, name, said, {"labels": labels}, project)


def make_guard(
    session: Session,
    service: Service,
    who: Caller,
    model: str,
    *,
    data: str,
    detector: str = "drift",
    rate: float = 0.05,
    other_data: bool = False,
) -> GuardFile:
    """Begin to teach a detector for a model on a data set of the same project.

    Raises Problem 422 for another detector or rate, 409 for a model or data set that is not ready.
    """
    if detector not in detectors():
        raise Problem(422, f"detector: expected one of {', '.join(detectors())}")
    if not 0 < rate < MOST_ALARMS:
        raise Problem(
            422, f"rate: expected a share of clean images above 0 and under {MOST_ALARMS:g} ({MOST_ALARMS:.0%})"
        )
    found, images = _pair(session, who, model, data)
    if found.state != "ready":
        raise Problem(409, "the model is not ready: a guard is taught for one that has its card and was opened")
    told = {"detector": detector, "rate": rate, "other_data": other_data}
    made = GuardFile(
        id=new_id("grd"),
        project_id=found.project_id,
        created_by=who.user_id,
        model_id=found.id,
        data_id=images.id,
        told=told,
    )
    session.add(made)
    session.flush()
    _submit(session, service, who, "guard", made)
    tell(session, service, who, "guard.add", made, model=found.id, data=images.id)
    return made


def make_check(session: Session, service: Service, who: Caller, model: str, *, data: str) -> Model:
    """Begin to try a model on labelled images: its conventions are guessed, its card written where it has none.

    Raises Problem 409 for a model that is being imported or could not be, and for a data set that is not ready.
    """
    found, images = _pair(session, who, model, data)
    if found.state not in ("ready", "unchecked"):
        raise Problem(409, "the model cannot be tried: it is being imported, or could not be")
    found.told = {**found.told, "check": images.id}
    _submit(session, service, who, "check", found)
    tell(session, service, who, "model.check", found, data=images.id)
    return found


def rename(session: Session, service: Service, who: Caller, kind: type[T], id: str, name: str) -> T:
    """Another name for a model or a data set."""
    found = owned(session, kind, id, who)
    found.name = checked_name(name)
    session.flush()
    tell(session, service, who, f"{word(kind)}.rename", found)
    return found


def is_on(text: str) -> bool:
    """Whether a form's box is ticked."""
    return text.lower() in ("1", "true", "on", "yes")


def _make(
    session: Session,
    service: Service,
    who: Caller,
    kind: type[T],
    file: Staged,
    name: str,
    told: Mapping[str, Any],
    more: Mapping[str, Staged | None],
    project: str | None,
) -> T:
    home = home_project(who, project)
    id = new_id(_KINDS[kind])
    name = checked_name(name) if name.strip() else f"{word(kind)} {id[-6:]}"
    others = {key: one for key, one in more.items() if one is not None}
    check_room(session, service, home, file.size + sum(one.size for one in others.values()))
    kept = {key: keep_file(session, service, who, home, one).id for key, one in others.items()}
    first = keep_file(session, service, who, home, file)
    made = kind(
        id=id, project_id=home, created_by=who.user_id, name=name, file_id=first.id, told={**told, **kept}, path=""
    )
    session.add(made)
    session.flush()
    _submit(session, service, who, word(kind), made)
    tell(session, service, who, f"{word(kind)}.upload", made, sha256=file.sha256, bytes=file.size)
    return made


def _pair(session: Session, who: Caller, model: str, data: str) -> tuple[Model, DataSet]:
    found, images = owned(session, Model, model, who), owned(session, DataSet, data, who)
    if images.project_id != found.project_id:
        raise Problem(404, f"no {called(DataSet)} of that name in the model's project")
    if images.state != "ready":
        raise Problem(409, "the data set is not ready: it is being imported, or could not be")
    running = job_of(session, found.id)
    if running is not None and running.state in UNFINISHED:
        raise Problem(409, "the model is being worked on; wait for that to end")
    return found, images


def _submit(session: Session, service: Service, who: Caller, kind: str, made: Model | DataSet | GuardFile) -> None:
    service.jobs.submit(session, kind, subject_id=made.id, project_id=made.project_id, created_by=who.user_id)
