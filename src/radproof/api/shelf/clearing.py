# SPDX-License-Identifier: Apache-2.0
"""What is removed from a project's shelf: its row, its folder, its upload; never what a run is about."""

import shutil
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller, called, held, owned
from radproof.api.service import Service
from radproof.api.shelf.holdings import job_of, tell, word
from radproof.errors import BadInput
from radproof.store.tables import UNFINISHED, DataSet, File, GuardFile, Model, Run


def remove_model(service: Service, who: Caller, id: str) -> None:
    """Remove a model, its guards, its folder and its upload. Raises Problem 409 while runs are about it."""
    with service.database.writing() as session:
        found = held(session, Model, id, who)
        guards = session.execute(select(GuardFile).where(GuardFile.model_id == found.id)).scalars().all()
        _unused(session, found)
        names = [one.id for one in guards]
        jobs: tuple[str, ...] = ()
        for one in guards:
            jobs += _forget_jobs(session, service, one.id)
            session.delete(one)
        jobs += _remove(session, service, who, found, (found.file_id, found.told.get("card")))
    service.jobs.sweep(jobs)
    service.screeners.close_model(id)
    for name in names:
        _guard_gone(service, name)
    discard(service, "models", id)
    service.screeners.close_model(id)  # that was opened meanwhile


def remove_data(service: Service, who: Caller, id: str) -> None:
    """Remove a data set, its folder and its upload. Raises Problem 409 while runs are about it."""
    with service.database.writing() as session:
        found = held(session, DataSet, id, who)
        _unused(session, found)
        jobs = _remove(session, service, who, found, (found.file_id, found.told.get("labels")))
    service.jobs.sweep(jobs)
    discard(service, "data", id)


def remove_guard(service: Service, who: Caller, model: str, id: str) -> None:
    """Remove a guard of a model."""
    with service.database.writing() as session:
        held(session, GuardFile, id, who)
        found = guard_of(session, who, model, id)
        jobs = _remove(session, service, who, found, ())
    service.jobs.sweep(jobs)
    service.screeners.close_model(model)
    _guard_gone(service, id)


def guard_of(session: Session, who: Caller, model: str, id: str) -> GuardFile:
    """A guard of a model. Raises Problem 404."""
    found = owned(session, GuardFile, id, who)
    if found.model_id != model:
        raise Problem(404, f"no {called(GuardFile)} of that name in your projects")
    return found


def _unused(session: Session, found: Model | DataSet) -> None:
    column = Run.model_id if isinstance(found, Model) else Run.data_id
    states = session.execute(select(Run.state).where(column == found.id)).scalars().all()
    busy = sum(state in UNFINISHED for state in states)
    what = called(type(found))
    if busy:
        raise Problem(409, f"{busy} unfinished run(s) use this {what}; cancel them first")
    if states:
        raise Problem(409, f"{len(states)} finished run(s) are about this {what}; remove them first")


def _remove(
    session: Session, service: Service, who: Caller, found: Model | DataSet | GuardFile, files: tuple[str | None, ...]
) -> tuple[str, ...]:
    """The names of its jobs, which are deleted with it."""
    jobs = _forget_jobs(session, service, found.id)
    tell(session, service, who, f"{word(type(found))}.remove", found)
    session.delete(found)
    session.flush()
    for name in files:
        kept = session.get(File, name) if name else None
        if kept is not None:
            service.files.forget(session, kept)
    return jobs


def _forget_jobs(session: Session, service: Service, subject: str) -> tuple[str, ...]:
    cancel(session, service, subject)
    return service.jobs.forget(session, subject)


def discard(service: Service, kind: str, id: str) -> None:
    """Remove a folder, under another name at once: nobody reads half of it."""
    away = service.settings.folder("uploads", f"{id}.gone")
    with suppress(FileNotFoundError):
        away.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        service.settings.folder(kind, id).rename(away)
    shutil.rmtree(away, ignore_errors=True)


def _guard_gone(service: Service, id: str) -> None:
    (service.settings.folder("guards") / f"{id}.safetensors").unlink(missing_ok=True)


def cancel(session: Session, service: Service, subject: str) -> None:
    """End the work that makes it, if it has not ended."""
    job = job_of(session, subject)
    if job is not None and job.state in UNFINISHED:
        with suppress(Problem, BadInput):  # it ended meanwhile
            service.jobs.cancel(session, job)
