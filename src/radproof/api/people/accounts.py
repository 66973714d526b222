# SPDX-License-Identifier: Apache-2.0
"""What somebody does with their own account: password, project, API keys, browsers."""

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import select, update

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.service import Service
from radproof.store import tables
from radproof.store.ids import is_id
from radproof.store.keys import keys_of, make_key, revoke_key, revoke_keys
from radproof.store.passwords import check_password, hashed, verified
from radproof.store.people import title
from radproof.store.sessions import SHOWN, end_sessions, sessions_of, start_session
from radproof.store.tables import ApiKey, Project, Role, User

LONGEST_DAYS = 366


class ProjectName(BaseModel):
    """One of the caller's projects."""

    id: str
    name: str


class Account(BaseModel):
    """Who asks."""

    id: str
    name: str
    role: Role
    project: str | None  # the current one: where new things go
    projects: list[ProjectName]
    password: bool  # whether they can sign in with one


class KeyFacts(BaseModel):
    """An API key without its secret."""

    id: str
    name: str
    created: datetime
    expires: datetime | None
    used: datetime | None  # when it was last used, to the minute


class NewKey(KeyFacts):
    """A key just made; its secret is shown this once."""

    key: str


class SessionFacts(BaseModel):
    """A browser that is signed in."""

    id: str
    created: datetime
    expires: datetime
    this: bool  # whether it is the one that asks


def account(service: Service, who: Caller) -> Account:
    """Who they are, and their projects by name."""
    with service.database.reading() as session:
        query = select(Project).where(Project.id.in_(who.projects)).order_by(Project.name)
        projects = [ProjectName(id=one.id, name=one.name) for one in session.execute(query).scalars()]
        user = session.get(User, who.user_id)
        has = user is not None and user.password is not None
    return Account(
        id=who.user_id, name=who.name, role=who.role, project=who.project_id, projects=projects, password=has
    )


def choose_project(service: Service, who: Caller, project: str) -> None:
    """Make it the current one of this browser. Raises Problem 404."""
    if project not in who.projects:
        raise Problem(404, "no project of that name among yours")
    if who.session is None:
        return
    with service.database.writing() as session:
        kept = tables.Session
        session.execute(update(kept).where(kept.hash == who.session).values(project_id=project))
    service.callers.forget()


def change_password(service: Service, who: Caller, current: str, new: str, *, revoke: bool = True) -> str:
    """Set it; every browser is signed out, and the asking one gets this new session. Raises Problem 403, 429.

    `revoke`: API keys that were made until now open nothing any more.
    """
    by_session(who)
    service.limits.take("sign-in", who.user_id)
    with service.database.reading() as session:
        user = session.get(User, who.user_id)
        stored = user.password if user else None
    if not verified(stored, current):
        with service.database.writing() as session:
            service.trail.add(session, "password.refused", actor=who.user_id, object=who.user_id)
        raise Problem(403, "the present password is wrong")
    made = hashed(check_password(new, who.name))
    with service.database.writing() as session:
        user = session.get(User, who.user_id)
        if user is None or user.disabled or user.password != stored:
            raise Problem(409, "the password was changed meanwhile; sign in anew")
        user.password = made
        end_sessions(session, user.id)
        secret, _ = start_session(session, user, service.settings.session_hours, who.project_id)
        revoked = revoke_keys(session, user.id) if revoke else 0
        service.trail.add(session, "password.change", actor=user.id, object=user.id, keys=revoked)
    service.callers.forget()
    return secret


def keys(service: Service, who: Caller) -> list[KeyFacts]:
    """The caller's, newest first."""
    with service.database.reading() as session:
        return [_key(one) for one in keys_of(session, who.user_id)]


def new_key(service: Service, who: Caller, name: str, days: int | None) -> NewKey:
    """A key with the caller's own rights. A key cannot make another. Raises Problem 403, BadInput."""
    by_session(who)
    name = title(name)
    with service.database.writing() as session:
        made, secret = make_key(session, who.user_id, name, days)
        service.trail.add(session, "key.make", actor=who.user_id, object=made.id, days=days or 0)
    return NewKey(**_key(made).model_dump(), key=secret)


def drop_key(service: Service, who: Caller, key: str) -> None:
    """Revoke it. Raises Problem 404."""
    with service.database.writing() as session:
        if not is_id(key, "key") or not revoke_key(session, key, who.user_id):
            raise Problem(404, "no API key of that name among yours")
        service.trail.add(session, "key.revoke", actor=who.user_id, object=key)
    service.callers.forget()


def sessions(service: Service, who: Caller) -> list[SessionFacts]:
    """The browsers where the caller is signed in."""
    with service.database.reading() as session:
        return [
            SessionFacts(id=one.hash[:SHOWN], created=one.created, expires=one.expires, this=one.hash == who.session)
            for one in sessions_of(session, who.user_id)
        ]


def drop_session(service: Service, who: Caller, name: str) -> None:
    """Sign one browser out. Raises Problem 404."""
    with service.database.writing() as session:
        found = [one for one in sessions_of(session, who.user_id) if one.hash[:SHOWN] == name]
        if not found:
            raise Problem(404, "no browser of that name where you are signed in")
        for one in found:
            session.delete(one)
        service.trail.add(session, "session.end", actor=who.user_id, object=who.user_id)
    service.callers.forget()


def drop_sessions(service: Service, who: Caller) -> None:
    """Sign every other browser out."""
    with service.database.writing() as session:
        end_sessions(session, who.user_id, but=who.session)
        service.trail.add(session, "session.end_others", actor=who.user_id, object=who.user_id)
    service.callers.forget()


def by_session(who: Caller) -> None:
    """A key that fell into wrong hands must not make itself lasting ones. Raises Problem 403."""
    if who.by_key:
        raise Problem(403, "an API key cannot do this; sign in with a browser")


def _key(one: ApiKey) -> KeyFacts:
    return KeyFacts(id=one.id, name=one.name, created=one.created, expires=one.expires, used=one.used)
