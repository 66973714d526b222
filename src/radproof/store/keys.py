# SPDX-License-Identifier: Apache-2.0
"""API keys: a program's way in. Shown once; the database holds their hash."""

import re
import secrets
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, func, or_, select, update
from sqlalchemy.orm import Session

from radproof.errors import BadInput
from radproof.store.ids import new_id
from radproof.store.sessions import digest
from radproof.store.tables import ApiKey, User, now

PREFIX = "rp_"
SECRET = r"rp_[A-Za-z0-9_-]{43}"
MOST = 50  # unrevoked ones of one user
_WHOLE = re.compile(SECRET)
_SELDOM = timedelta(minutes=1)  # between two notes of when it was used


def make_key(session: Session, user_id: str, name: str, days: int | None) -> tuple[ApiKey, str]:
    """A new key, and the secret that is never seen again. Raises BadInput for one too many."""
    valid = (
        ApiKey.user_id == user_id,
        ApiKey.revoked.is_(False),
        or_(ApiKey.expires.is_(None), ApiKey.expires > now()),
    )
    if session.execute(select(func.count()).select_from(ApiKey).where(*valid)).scalar_one() >= MOST:
        raise BadInput(f"you have {MOST} API keys already; revoke one that is not used any more")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        id=new_id("key"),
        hash=digest(secret),
        user_id=user_id,
        name=name,
        expires=now() + timedelta(days=days) if days else None,
    )
    session.add(key)
    session.flush()
    return key, secret


def found_key(session: Session, secret: str) -> tuple[ApiKey, User] | None:
    """The key of this secret and whose it is; None where it expired, was revoked, or they are disabled."""
    if not _WHOLE.fullmatch(secret):
        return None
    row = session.execute(
        select(ApiKey, User)
        .join(User, User.id == ApiKey.user_id)
        .where(ApiKey.hash == digest(secret), ApiKey.revoked.is_(False), User.disabled.is_(False))
        .where(or_(ApiKey.expires.is_(None), ApiKey.expires > now()))
    ).one_or_none()
    return (row[0], row[1]) if row else None


def known_key(session: Session, secret: str) -> str:
    """The id of this secret's key, though it opens nothing any more; "" for one that never was."""
    if not _WHOLE.fullmatch(secret):
        return ""
    return session.execute(select(ApiKey.id).where(ApiKey.hash == digest(secret))).scalar_one_or_none() or ""


def used_lately(key: ApiKey) -> bool:
    """Whether its use was noted within the last minute."""
    return key.used is not None and now() - key.used < _SELDOM


def note_use(session: Session, key_id: str) -> None:
    """That it was used now, unless that was noted a moment ago."""
    seldom = or_(ApiKey.used.is_(None), ApiKey.used < now() - _SELDOM)
    session.execute(update(ApiKey).where(ApiKey.id == key_id, seldom).values(used=now()))


def revoke_key(session: Session, key_id: str, user_id: str) -> bool:
    """From now on it opens nothing. False: the user has no such key."""
    done = session.execute(update(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user_id).values(revoked=True))
    return cast("CursorResult[Any]", done).rowcount == 1


def revoke_keys(session: Session, user_id: str) -> int:
    """All of a user's; how many were not revoked before."""
    opening = update(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked.is_(False))
    return cast("CursorResult[Any]", session.execute(opening.values(revoked=True))).rowcount


def keys_of(session: Session, user_id: str) -> list[ApiKey]:
    """A user's that are not revoked, newest first."""
    query = select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked.is_(False))
    return list(session.execute(query.order_by(ApiKey.created.desc(), ApiKey.id)).scalars())
