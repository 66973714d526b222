# SPDX-License-Identifier: Apache-2.0
"""Browsers that signed in. The secret is the browser's alone: the database holds its hash."""

import hashlib
import re
import secrets
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from radproof.store import tables
from radproof.store.tables import Membership, User, now

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 bits
SHOWN = 16  # characters of the hash by which a person names one of their sessions


def digest(secret: str) -> str:
    """What is kept of a secret of 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def start_session(session: Session, user: User, hours: float, project: str | None = None) -> tuple[str, str]:
    """A new session: its secret, and its CSRF token. `project`: the one to show; else the first of the user's."""
    secret, csrf = secrets.token_urlsafe(32), secrets.token_hex(32)
    mine = memberships(session, user.id)
    session.add(
        tables.Session(
            hash=digest(secret),
            user_id=user.id,
            csrf=csrf,
            project_id=project if project in mine else mine[0] if mine else None,
            expires=now() + timedelta(hours=hours),
        )
    )
    session.execute(delete(tables.Session).where(tables.Session.expires < now()))
    session.flush()
    return secret, csrf


def found_session(session: Session, secret: str) -> tuple[tables.Session, User] | None:
    """The session of this secret and whose it is; None where it has ended, or they are disabled."""
    if not _TOKEN.fullmatch(secret):
        return None
    row = session.execute(
        select(tables.Session, User)
        .join(User, User.id == tables.Session.user_id)
        .where(tables.Session.hash == digest(secret), tables.Session.expires > now(), User.disabled.is_(False))
    ).one_or_none()
    return (row[0], row[1]) if row else None


def end_session(session: Session, hash: str) -> None:
    """Sign one browser out."""
    session.execute(delete(tables.Session).where(tables.Session.hash == hash))


def end_sessions(session: Session, user_id: str, but: str | None = None) -> None:
    """Sign every browser of a user out; `but`: the hash of one that stays."""
    session.execute(delete(tables.Session).where(tables.Session.user_id == user_id, tables.Session.hash != (but or "")))


def sessions_of(session: Session, user_id: str) -> list[tables.Session]:
    """A user's, newest first."""
    kept = tables.Session
    query = select(kept).where(kept.user_id == user_id, kept.expires > now()).order_by(kept.created.desc(), kept.hash)
    return list(session.execute(query).scalars())


def memberships(session: Session, user_id: str) -> tuple[str, ...]:
    """The projects that a user belongs to, by name."""
    query = (
        select(Membership.project_id)
        .join(tables.Project, tables.Project.id == Membership.project_id)
        .where(Membership.user_id == user_id)
        .order_by(tables.Project.name)
    )
    return tuple(session.execute(query).scalars())
