# SPDX-License-Identifier: Apache-2.0
"""Plans and runs: kept, begun, stopped, put first, removed. Pages and resources call the same functions.

`make_…` work in the caller's transaction, which is `service.submitting()`; the others are whole.
"""

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller, home_project, owned
from radproof.api.plans.planning import Checked, checked
from radproof.api.service import Service
from radproof.api.shelf.clearing import discard
from radproof.api.shelf.holdings import checked_name, job_of
from radproof.api.shelf.room import check_begin
from radproof.jobs.states import FINAL
from radproof.store.ids import new_id
from radproof.store.tables import UNFINISHED, Job, Project, Run, SavedPlan

Verb = Literal["cancel", "pause", "resume", "retry"]
VERBS: tuple[Verb, ...] = ("cancel", "pause", "resume", "retry")
PRIORITY = 100


def start_run(
    service: Service,
    who: Caller,
    *,
    plan: str | None = None,
    document: Mapping[str, Any] | None = None,
    name: str = "",
    priority: int = PRIORITY,
    project: str | None = None,
) -> Run:
    """Queue an assessment by a kept plan's name or by a document. Raises Problem 422, 404, 409 (too many at once)."""
    found, kept = chosen(service, who, plan=plan, document=document, project=project)
    with service.submitting() as session:
        return make_run(session, service, who, found, kept=kept, name=name, priority=priority)


def chosen(
    service: Service,
    who: Caller,
    *,
    plan: str | None = None,
    document: Mapping[str, Any] | None = None,
    project: str | None = None,
) -> tuple[Checked, str | None]:
    """What is to be run, checked as it is now, and the kept plan's name if it is one."""
    if (plan is None) == (document is None):
        raise Problem(422, "give one of plan (a kept plan's name) and document (a plan)")
    if document is not None:
        return checked(service, who, document, project), None
    with service.database.reading() as session:
        kept = owned(session, SavedPlan, plan or "", who)
    if project is not None:
        home_project(who, project)
    return checked(service, who, kept.document, kept.project_id), kept.id


def make_plan(session: Session, service: Service, who: Caller, found: Checked, *, name: str = "") -> SavedPlan:
    """Keep a plan; the same document is kept once per project and name."""
    title = checked_name(name or found.plan.title or found.plan.name)
    query = select(SavedPlan).where(
        SavedPlan.project_id == found.project_id, SavedPlan.digest == found.digest, SavedPlan.name == title
    )
    known = session.execute(query.limit(1)).scalar_one_or_none()
    if known is not None:
        return known
    made = SavedPlan(
        id=new_id("pln"),
        project_id=found.project_id,
        created_by=who.user_id,
        name=title,
        document=found.document,
        digest=found.digest,
    )
    session.add(made)
    session.flush()
    service.trail.add(session, "plan.add", actor=who.user_id, object=made.id, project=made.project_id)
    return made


def make_run(
    session: Session,
    service: Service,
    who: Caller,
    found: Checked,
    *,
    kept: str | None = None,
    name: str = "",
    priority: int = PRIORITY,
) -> Run:
    """A run with its plan and its job. Raises Problem 409 where the project has too many unfinished ones."""
    _check_room(session, service, found.project_id)
    plan = kept or make_plan(session, service, who, found, name=name).id
    run = Run(
        id=new_id("run"),
        project_id=found.project_id,
        created_by=who.user_id,
        name=checked_name(name or found.plan.title or found.plan.name),
        plan_id=plan,
        model_id=found.model.id,
        data_id=found.data.id if found.data else None,
    )
    session.add(run)
    session.flush()
    job = service.jobs.submit(
        session, "assess", subject_id=run.id, project_id=run.project_id, created_by=who.user_id, priority=priority
    )
    run.state = job.state
    service.trail.add(session, "run.add", actor=who.user_id, object=run.id, project=run.project_id, plan=plan)
    return run


def act(service: Service, who: Caller, name: str, verb: Verb) -> Run:
    """Cancel, pause, resume or retry.

    Raises Problem 404, 409 where the project has too many others; Conflict where it makes no sense in the run's state.
    """
    with service.submitting() as session:
        run, job = both(session, name, who)
        do = {
            "cancel": service.jobs.cancel,
            "pause": service.jobs.pause,
            "resume": service.jobs.resume,
            "retry": service.jobs.retry,
        }
        do[verb](session, job)
        if verb in ("resume", "retry"):
            _check_room(session, service, run.project_id, but=run.id)
        service.trail.add(session, f"run.{verb}", actor=who.user_id, object=run.id, project=run.project_id)
        session.flush()
        session.refresh(run)
        return run


def _check_room(session: Session, service: Service, project: str, *, but: str = "") -> None:
    """Whether one more run may be unfinished; nobody else begins one in this project until the transaction ends."""
    session.execute(select(Project.id).where(Project.id == project).with_for_update(key_share=True))
    asked = select(func.count()).where(Run.project_id == project, Run.id != but, Run.state.in_(UNFINISHED))
    most = service.settings.quota_runs
    if session.execute(asked).scalar_one() >= most:
        raise Problem(409, f"this project has {most} unfinished runs, as many as it may; wait, or cancel some")
    check_begin(session, service, project)


def put_first(service: Service, who: Caller, name: str, priority: int) -> Run:
    """Change a run's priority: smaller ones go first."""
    with service.submitting() as session:
        run, job = both(session, name, who)
        service.jobs.prioritise(session, job, priority)
        told = {"actor": who.user_id, "object": run.id, "project": run.project_id}
        service.trail.add(session, "run.priority", **told, priority=priority)
        return run


def remove_run(service: Service, who: Caller, name: str) -> None:
    """Remove a run that is over, with its folder. Raises Problem 404, 409 for one that is not over."""
    with service.database.writing() as session:
        run = owned(session, Run, name, who)
        project = run.project_id
        gone = session.execute(delete(Run).where(Run.id == name, Run.state.in_(FINAL)).returning(Run.id)).all()
        if not gone:
            raise Problem(409, f"this run is not over: its state is {run.state}; cancel it first")
        jobs = service.jobs.forget(session, name)
        service.trail.add(session, "run.remove", actor=who.user_id, object=name, project=project)
    discard(service, "runs", name)
    service.screeners.drawers.end(name)  # it was kept open from that folder
    service.jobs.sweep(jobs)
    (service.settings.folder("plans") / f"{name}.json").unlink(missing_ok=True)


def remove_plan(service: Service, who: Caller, name: str) -> None:
    """Remove a kept plan that no run was made by. Raises Problem 404, 409."""
    with service.database.writing() as session:
        plan = owned(session, SavedPlan, name, who)
        used = session.execute(select(func.count()).where(Run.plan_id == plan.id)).scalar_one()
        if used:
            raise Problem(409, f"{used} run(s) were made by this plan; remove them first")
        service.trail.add(session, "plan.remove", actor=who.user_id, object=plan.id, project=plan.project_id)
        session.delete(plan)


def both(session: Session, name: str, who: Caller) -> tuple[Run, Job]:
    """A run and its job. Raises Problem 404."""
    run = owned(session, Run, name, who)
    job = job_of(session, run.id)
    if job is None:
        raise Problem(409, "nothing is queued for this run")
    return run, job
