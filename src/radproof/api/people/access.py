# SPDX-License-Identifier: Apache-2.0
"""Who asks, and what they may see: every route takes one of these as a dependency, and nothing else decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.store.ids import is_id
from radproof.store.tables import DataSet, File, GuardFile, Job, Model, Owned, ReaderTest, Role, Run, SavedPlan

RANKS: dict[str, int] = {"viewer": 0, "clinician": 1, "developer": 2, "admin": 3}
T = TypeVar("T", bound=Owned)

_CALLED: Mapping[type[Owned], str] = {
    Model: "model",
    DataSet: "data set",
    GuardFile: "guard",
    SavedPlan: "plan",
    Run: "run",
    ReaderTest: "reader test",
    Job: "job",
    File: "file",
}


def called(kind: type[Owned]) -> str:
    """What people call such a thing."""
    return _CALLED[kind]


@dataclass(frozen=True)
class Caller:
    """The person or program behind a request."""

    user_id: str
    name: str
    role: Role
    projects: tuple[str, ...]  # whose member they are
    project_id: str | None  # the one that pages show and new things go to, unless told otherwise
    session: str | None = None  # hash of the browser's session; None: an API key, or nobody signs in here
    csrf: str = ""  # what a form shows; "": an API key

    @property
    def by_key(self) -> bool:
        """Whether a program asks, with an API key."""
        return self.session is None and not self.csrf

    @property
    def local(self) -> bool:
        """Whether it is whoever sits at a server without sign-in."""
        return self.session is None and bool(self.csrf)

    def may(self, role: Role) -> bool:
        """Whether their role is this one or a higher one: viewer < clinician < developer < admin."""
        return RANKS[self.role] >= RANKS[role]


def caller(request: Request) -> Caller:
    """Who asks: found once per request by the middleware `around`. Raises Problem 401 where nobody signed in."""
    found: Caller | None = getattr(request.state, "caller", None)
    if found is None:
        raise Problem(401, "sign in, or send an API key as `Authorization: Bearer …`")
    return found


def require(role: Role) -> Callable[[Caller], Caller]:
    """A dependency: the caller, who must have this role or a higher one. Raises Problem 403."""

    def check(who: Annotated[Caller, Depends(caller)]) -> Caller:
        if not who.may(role):
            raise Problem(403, f"this needs the role {role}; yours is {who.role}; ask an administrator")
        return who

    return check


Viewer = Annotated[Caller, Depends(require("viewer"))]
Clinician = Annotated[Caller, Depends(require("clinician"))]
Developer = Annotated[Caller, Depends(require("developer"))]
Admin = Annotated[Caller, Depends(require("admin"))]


def owned(session: Session, kind: type[T], name: str, who: Caller) -> T:
    """The thing of this name in one of the caller's projects.

    Raises Problem 404 in the same words whether there is none or it is somebody else's.
    """
    found = session.get(kind, name) if is_id(name) else None
    if found is None or found.project_id not in who.projects:
        raise Problem(404, f"no {called(kind)} of that name in your projects")
    return found


def held(session: Session, kind: type[T], name: str, who: Caller) -> T:
    """As owned, and nobody else changes it or its jobs until the transaction ends; SQLite has one writer anyway.

    Jobs come first, as where a worker writes what came of one: in another order two would wait for each other.
    """
    found = owned(session, kind, name, who)
    jobs = select(Job.id).where(Job.subject_id == found.id).order_by(Job.id)
    session.execute(jobs.with_for_update(key_share=True))
    if session.get(kind, name, with_for_update={"key_share": True}, populate_existing=True) is None:  # gone meanwhile
        raise Problem(404, f"no {called(kind)} of that name in your projects")
    return found


def visible(kind: type[T], who: Caller, project: str | None = None) -> Select[T]:
    """All things of a kind in the caller's projects, or in one of them. Raises Problem 404 for another's project."""
    if project is not None and project not in who.projects:
        raise Problem(404, "no project of that name among yours")
    return select(kind).where(kind.project_id.in_((project,) if project else who.projects))


def home_project(who: Caller, project: str | None = None) -> str:
    """Where something new goes: the project that is told, else the caller's current or only one. Problem 422, 404."""
    if project is not None:
        if project not in who.projects:
            raise Problem(404, "no project of that name among yours")
        return project
    if who.project_id in who.projects and who.project_id:
        return who.project_id
    if len(who.projects) == 1:
        return who.projects[0]
    raise Problem(422, "say which project: `project` is one of yours, listed at /api/v1/account")
