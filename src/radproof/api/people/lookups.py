# SPDX-License-Identifier: Apache-2.0
"""From what a request shows to who asks: an API key, a session's cookie, or nothing where nobody signs in."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from radproof.api.http.limits import address
from radproof.api.http.problems import Problem
from radproof.api.people import csrf
from radproof.api.people.access import Caller
from radproof.api.people.callers import SECONDS
from radproof.api.service import Service
from radproof.store.keys import found_key, known_key, note_use, used_lately
from radproof.store.people import LOCAL, local_user
from radproof.store.sessions import digest, found_session, memberships
from radproof.store.tables import Project, Role, User, now

COOKIE = "radproof_session"
PROJECT = "radproof_project"  # the current one where nobody signs in
Answer = tuple[Caller, float] | None  # who, and for how many seconds that may be believed


async def caller_of(request: Request, service: Service) -> Caller | None:
    """Who asks. Raises Problem 401 for a key that opens nothing."""
    told = request.headers.get("authorization")
    if told is not None:
        scheme, _, secret = told.partition(" ")
        who = await _known(f"key {digest(secret.strip())}", _by_key, service, secret.strip())
        if scheme.lower() != "bearer" or who is None:
            await run_in_threadpool(_refused, service, secret.strip(), address(request, service.settings))
            unknown = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "this API key is unknown, expired or revoked; make another at /account", headers=unknown)
        return who
    if not service.settings.auth:
        who = await _known("local", _local, service, "")
        chosen = request.cookies.get(csrf.cookie_name(PROJECT, service.settings))
        return replace(who, project_id=chosen) if who and chosen in who.projects else who
    secret = request.cookies.get(csrf.cookie_name(COOKIE, service.settings))
    return await _known(f"session {digest(secret)}", _by_session, service, secret) if secret else None


async def _known(shown: str, look_up: Callable[[Service, str], Answer], service: Service, secret: str) -> Caller | None:
    found = service.callers.get(shown)
    if found is not None:
        return found
    changes = service.callers.changes
    answered = await run_in_threadpool(look_up, service, secret)
    if answered is None:
        return None
    service.callers.keep(shown, answered[0], changes, answered[1])
    return answered[0]


def _by_session(service: Service, secret: str) -> Answer:
    with service.database.reading() as session:
        found = found_session(session, secret)
        if found is None:
            return None
        kept, user = found
        mine = memberships(session, user.id)
        project = kept.project_id if kept.project_id in mine else mine[0] if mine else None
        who = Caller(user.id, user.name, _role(user), mine, project, kept.hash, kept.csrf)
        return who, (kept.expires - now()).total_seconds()


def _by_key(service: Service, secret: str) -> Answer:
    with service.database.reading() as session:
        found = found_key(session, secret)
        if found is None:
            return None
        key, user = found
        who = Caller(user.id, user.name, _role(user), memberships(session, user.id), None)
    if not used_lately(key):
        try:
            with service.database.writing() as session:
                note_use(session, key.id)
        except SQLAlchemyError:  # a busy database keeps nobody out
            pass
    return who, (key.expires - now()).total_seconds() if key.expires else SECONDS


def _refused(service: Service, secret: str, where: str) -> None:
    """In the trail, once a minute and address: guesses must not fill it."""
    try:
        service.limits.take("key-refused", where)
        with service.database.writing() as session:
            service.trail.add(session, "key.refused", object=known_key(session, secret))
    except (Problem, SQLAlchemyError):
        return


def _local(service: Service, _: str) -> Answer:
    with service.database.reading() as session:
        user = session.execute(select(User).where(User.name == LOCAL)).scalar_one_or_none()
        projects = _all_projects(session)
    if user is None or not projects:
        with service.database.writing() as session:
            user = local_user(session)
            projects = _all_projects(session)
    token = csrf.keyed(service.settings, "local")
    return Caller(user.id, user.name, "admin", projects, projects[0], None, token), SECONDS


def _all_projects(session: Session) -> tuple[str, ...]:
    return tuple(session.execute(select(Project.id).order_by(Project.created, Project.id)).scalars())


def _role(user: User) -> Role:
    return cast(Role, user.role)
