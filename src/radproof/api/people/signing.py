# SPDX-License-Identifier: Apache-2.0
"""Signing in and out, and using a link once. A refusal is the same whether the name or the password is wrong."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.people.csrf import keyed
from radproof.api.service import Service
from radproof.store.invitations import found_invitation, use_invitation
from radproof.store.keys import revoke_keys
from radproof.store.passwords import check_password, hashed, stale, verified
from radproof.store.people import add_member, add_user, named, role_of, user_name
from radproof.store.sessions import end_session, end_sessions, start_session
from radproof.store.tables import Invitation, Project, Role, User

WRONG = "name or password is wrong; nobody is told which"


@dataclass(frozen=True)
class Link:
    """What a link that works once is for."""

    role: Role
    name: str | None  # whose new password it sets; None: for somebody new


def sign_in(service: Service, name: str, password: str, address: str) -> str:
    """A new session's secret. Raises Problem 401, 429."""
    service.limits.take("sign-in", address)
    service.limits.take("sign-in-name", keyed(service.settings, "name", name.strip().lower()[:300]))
    with service.database.reading() as session:
        found = named(session, name) if len(name) <= 255 else None
        user_id, stored = (found.id, found.password) if found and not found.disabled else ("", None)
        known = found.id if found else ""
    right = verified(stored, password)
    fresh = hashed(password) if right and stored and stale(stored) else None
    with service.database.writing() as session:
        user = session.get(User, user_id) if right else None
        if user is not None and not user.disabled and user.password == stored:
            if fresh:
                user.password = fresh
            return begin(service, session_of=user, session=session, way="password")
        service.trail.add(session, "session.refused", object=known)
    raise Problem(401, WRONG)


def begin(service: Service, *, session_of: User, session: Session, way: str) -> str:
    """A new session within a transaction, told in the trail."""
    secret, _ = start_session(session, session_of, service.settings.session_hours)
    service.trail.add(session, "session.start", actor=session_of.id, object=session_of.id, way=way)
    return secret


def sign_out(service: Service, who: Caller) -> None:
    """End this browser's session."""
    if who.session is None:
        return
    with service.database.writing() as session:
        end_session(session, who.session)
        service.trail.add(session, "session.end", actor=who.user_id, object=who.user_id)
    service.callers.forget()


def link(service: Service, secret: str) -> Link:
    """What it is for. Raises Problem 404 in the same words for an unknown, used, replaced or old one."""
    with service.database.reading() as session:
        found = found_invitation(session, secret)
        user = session.get(User, found.user_id) if found and found.user_id else None
        if found is None or (user is not None and user.disabled):
            raise _gone()
        return Link(role_of(found.role), user.name if user else None)


def use_link(service: Service, secret: str, name: str, password: str, address: str) -> str:
    """Make the person or set the password, and sign in: a new session's secret. Raises Problem 404, 429, BadInput."""
    service.limits.take("sign-in", address)
    wanted = link(service, secret)
    name = wanted.name or user_name(name)
    made = hashed(check_password(password, name))
    told: dict[str, Any] = {}
    with service.database.writing() as session:
        found = found_invitation(session, secret)
        if found is None or not use_invitation(session, found):
            raise _gone()
        if found.user_id is None:
            user = _newcomer(session, found, name, made)
        else:
            user, told["keys"] = _changed(session, found, made)
        service.trail.add(session, "invitation.use", actor=user.id, object=found.id, role=user.role, **told)
        token = begin(service, session_of=user, session=session, way="link")
    service.callers.forget()
    return token


def _newcomer(session: Session, found: Invitation, name: str, password: str) -> User:
    user = add_user(session, name, role_of(found.role), password=password)
    project = session.get(Project, found.project_id) if found.project_id else None
    if project is not None:
        add_member(session, user, project)
    return user


def _changed(session: Session, found: Invitation, password: str) -> tuple[User, int]:
    """Whoever had the old password may have made keys: they end with it. The person, and how many keys."""
    user = session.get(User, found.user_id)
    if user is None or user.disabled:
        raise _gone()
    user.password = password
    end_sessions(session, user.id)
    return user, revoke_keys(session, user.id)


def _gone() -> Problem:
    return Problem(404, "this link is unknown, was used already, or is older than 48 hours; ask for a new one")
