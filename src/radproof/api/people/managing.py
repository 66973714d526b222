# SPDX-License-Identifier: Apache-2.0
"""What an administrator does with people. Every step is told in the trail, in its own transaction."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.api.http.paging import sealed, unsealed
from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.people.accounts import ProjectName, by_session
from radproof.api.service import Service
from radproof.store import people as kept
from radproof.store.ids import is_id
from radproof.store.invitations import invite
from radproof.store.people import server_address
from radproof.store.settings import MEGABYTE
from radproof.store.tables import Membership, Project, Role, User


class Person(BaseModel):
    """Somebody who may sign in."""

    id: str
    name: str
    role: Role
    disabled: bool
    created: datetime
    projects: list[ProjectName]
    way: str  # how they sign in: "password", "identity provider", "none"


class NewLink(BaseModel):
    """A link that works once; it is shown this once."""

    link: str
    role: Role
    expires: datetime


class ProjectFacts(BaseModel):
    """A project and who belongs to it."""

    id: str
    name: str
    created: datetime
    members: list[ProjectName]  # users by id and name
    used_bytes: int  # of uploads, models, data sets and runs that are over
    quota_bytes: int


def people(service: Service, cursor: str | None = None, limit: int = 50) -> tuple[list[Person], str | None]:
    """By name."""
    query = select(User).where(User.name != kept.LOCAL).order_by(User.name).limit(limit + 1)
    if cursor:
        query = query.where(User.name > unsealed(cursor))
    with service.database.reading() as session:
        found = list(session.execute(query).scalars())
        shelves = _projects_of(session, [one.id for one in found])
        shown = [_person(one, shelves.get(one.id, [])) for one in found[:limit]]
    return shown, sealed(shown[-1].name) if len(found) > limit else None


def names(service: Service) -> list[ProjectName]:
    """Everybody who may sign in, by name."""
    query = select(User.id, User.name).where(User.name != kept.LOCAL, User.disabled.is_(False)).order_by(User.name)
    with service.database.reading() as session:
        return [ProjectName(id=id, name=name) for id, name in session.execute(query)]


def project_names(service: Service) -> list[ProjectName]:
    """All projects, by name."""
    with service.database.reading() as session:
        found = session.execute(select(Project.id, Project.name).order_by(Project.name))
        return [ProjectName(id=id, name=name) for id, name in found]


def person(service: Service, user_id: str) -> Person:
    """One of them. Raises Problem 404."""
    with service.database.reading() as session:
        user = _user(session, user_id)
        return _person(user, _projects_of(session, [user.id]).get(user.id, []))


def invite_person(service: Service, who: Caller, role: Role, project: str | None) -> NewLink:
    """A link for somebody new; `project`: where they will belong. Raises Problem 403, 404."""
    by_session(who)
    with service.database.writing() as session:
        if project is not None:
            _project(session, project)
        made, secret = invite(session, role, project=project, created_by=who.user_id)
        service.trail.add(
            session, "invitation.make", actor=who.user_id, object=made.id, project=project or "", role=role
        )
    return NewLink(link=f"{server_address(service.settings)}/invite/{secret}", role=role, expires=made.expires)


def reset_link(service: Service, who: Caller, user_id: str) -> NewLink:
    """A link by which a person sets a new password; older ones end. Raises Problem 403, 404, 409."""
    by_session(who)
    with service.database.writing() as session:
        user = _user(session, user_id)
        if user.disabled:
            raise Problem(409, "this person is disabled; enable them first")
        role = kept.role_of(user.role)
        made, secret = invite(session, role, user_id=user.id, created_by=who.user_id)
        service.trail.add(session, "invitation.make", actor=who.user_id, object=made.id, user=user.id)
    return NewLink(link=f"{server_address(service.settings)}/invite/{secret}", role=role, expires=made.expires)


def set_role(service: Service, who: Caller, user_id: str, role: Role) -> None:
    """Raises Problem 403, 404, Taken."""
    by_session(who)
    with service.database.writing() as session:
        user = _user(session, user_id)
        before = user.role
        if before != role:
            told = _ended(kept.set_role(session, user, role))
            service.trail.add(
                session, "user.role", actor=who.user_id, object=user.id, before=before, after=role, **told
            )
    service.callers.forget()


def set_disabled(service: Service, who: Caller, user_id: str, disabled: bool) -> None:
    """Raises Problem 403, 404, Taken."""
    by_session(who)
    with service.database.writing() as session:
        user = _user(session, user_id)
        if user.disabled != disabled:
            told = _ended(kept.disable(session, user)) if disabled else {}
            user.disabled = disabled
            action = "user.disable" if disabled else "user.enable"
            service.trail.add(session, action, actor=who.user_id, object=user.id, **told)
    service.callers.forget()


def projects(service: Service, cursor: str | None = None, limit: int = 50) -> tuple[list[ProjectFacts], str | None]:
    """By name."""
    query = select(Project).order_by(Project.name).limit(limit + 1)
    if cursor:
        query = query.where(Project.name > unsealed(cursor))
    with service.database.reading() as session:
        found = list(session.execute(query).scalars())
        used = service.files.used_by(session, [one.id for one in found[:limit]])
        shown = [_facts(session, service, one, used[one.id]) for one in found[:limit]]
    return shown, sealed(shown[-1].name) if len(found) > limit else None


def project(service: Service, project_id: str) -> ProjectFacts:
    """One of them. Raises Problem 404."""
    with service.database.reading() as session:
        found = _project(session, project_id)
        return _facts(session, service, found, service.files.used(session, found.id))


def new_project(service: Service, who: Caller, name: str) -> ProjectFacts:
    """With the administrator who made it as its first member. Raises Problem 403, BadInput, Taken."""
    by_session(who)
    name = kept.title(name)
    with service.database.writing() as session:
        made = kept.add_project(session, name)
        service.trail.add(session, "project.create", actor=who.user_id, object=made.id, project=made.id)
        kept.add_member(session, _user(session, who.user_id), made)
        service.trail.add(session, "project.join", actor=who.user_id, object=who.user_id, project=made.id)
        facts = _facts(session, service, made, 0)
    service.callers.forget()
    return facts


def rename_project(service: Service, who: Caller, project_id: str, name: str) -> ProjectFacts:
    """Raises Problem 403, 404, BadInput, Taken."""
    by_session(who)
    name = kept.title(name)
    with service.database.writing() as session:
        project = _project(session, project_id)
        kept.rename_project(session, project, name)
        service.trail.add(session, "project.rename", actor=who.user_id, object=project.id, project=project.id)
        return _facts(session, service, project, service.files.used(session, project.id))


def join(service: Service, who: Caller, project_id: str, user_id: str) -> None:
    """Make a person a member: they see everything of the project. Raises Problem 403, 404."""
    by_session(who)
    with service.database.writing() as session:
        project, user = _project(session, project_id), _user(session, user_id)
        if kept.add_member(session, user, project):
            service.trail.add(session, "project.join", actor=who.user_id, object=user.id, project=project.id)
    service.callers.forget()


def leave(service: Service, who: Caller, project_id: str, user_id: str) -> None:
    """A person sees nothing of the project any more. Raises Problem 403, 404."""
    by_session(who)
    with service.database.writing() as session:
        project, user = _project(session, project_id), _user(session, user_id)
        if kept.remove_member(session, user.id, project.id):
            service.trail.add(session, "project.leave", actor=who.user_id, object=user.id, project=project.id)
    service.callers.forget()


def _ended(invitations: int) -> dict[str, Any]:
    """What the trail says of invitations that ended with their maker's rights."""
    return {"invitations": invitations} if invitations else {}


def _person(user: User, shelves: list[ProjectName]) -> Person:
    ways = {user.password is not None: "password", user.subject is not None: "identity provider"}
    return Person(
        id=user.id, name=user.name, role=kept.role_of(user.role), disabled=user.disabled, created=user.created,
        projects=shelves, way=ways.get(True, "none"),
    )  # fmt: skip


def _projects_of(session: Session, users: list[str]) -> dict[str, list[ProjectName]]:
    query = (
        select(Membership.user_id, Project.id, Project.name)
        .join(Project, Project.id == Membership.project_id)
        .where(Membership.user_id.in_(users))
        .order_by(Project.name)
    )
    found: dict[str, list[ProjectName]] = {}
    for user, project, name in session.execute(query):
        found.setdefault(user, []).append(ProjectName(id=project, name=name))
    return found


def _facts(session: Session, service: Service, project: Project, used: int) -> ProjectFacts:
    query = select(User.id, User.name).join(Membership, Membership.user_id == User.id)
    found = session.execute(query.where(Membership.project_id == project.id).order_by(User.name))
    members = [ProjectName(id=user, name=name) for user, name in found]
    return ProjectFacts(
        id=project.id, name=project.name, created=project.created, members=members, used_bytes=used,
        quota_bytes=service.settings.quota_megabytes * MEGABYTE,
    )  # fmt: skip


def _user(session: Session, user_id: str) -> User:
    found = session.get(User, user_id) if is_id(user_id, "usr") else None
    if found is None:
        raise Problem(404, "no person of that name")
    return found


def _project(session: Session, project_id: str) -> Project:
    found = session.get(Project, project_id) if is_id(project_id, "prj") else None
    if found is None:
        raise Problem(404, "no project of that name")
    return found
