# SPDX-License-Identifier: Apache-2.0
"""Lists page by page, newest first: a cursor names the last thing seen, so that new ones shift nothing."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import Select, and_, or_
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.store.ids import is_id
from radproof.store.tables import Owned

T = TypeVar("T")
K = TypeVar("K", bound=Owned)
MOST = 100  # items of one page
LONGEST = 200  # characters of a cursor

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=LONGEST, description="`next` of the page before; none: the first.")]


class Page(BaseModel, Generic[T]):
    """Some of a list, newest first."""

    items: list[T]
    next: str | None = None  # the cursor of the page after this one; None: this was the last


def paged(
    session: Session, query: Select[K], kind: type[K], cursor: str | None = None, limit: int = 50
) -> tuple[list[K], str | None]:
    """At most `limit` things of a query, newest first, and the cursor of those after them.

    Raises Problem 422 for a cursor that no page gave.
    """
    if cursor:
        created, name = _opened(cursor)
        query = query.where(or_(kind.created < created, and_(kind.created == created, kind.id > name)))
    wanted = max(1, min(limit, MOST))
    found = list(session.execute(query.order_by(kind.created.desc(), kind.id).limit(wanted + 1)).scalars())
    shown = found[:wanted]
    more = shown[-1] if len(found) > wanted else None
    return shown, sealed(f"{more.created.astimezone(UTC).isoformat()} {more.id}") if more else None


def sealed(told: str) -> str:
    """A text as a cursor: plain characters that mean nothing to a reader."""
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def unsealed(cursor: str) -> str:
    """What a cursor holds. Raises Problem 422."""
    try:
        if len(cursor) > LONGEST or not cursor.isascii():
            raise broken()
        told = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise broken() from error
    if sealed(told) != cursor:
        raise broken()
    return told


def broken() -> Problem:
    """What is said of a cursor that no page gave."""
    return Problem(422, "cursor: not one that a page of this list gave as `next`; begin without it")


def _opened(cursor: str) -> tuple[datetime, str]:
    created, _, name = unsealed(cursor).partition(" ")
    try:
        moment = datetime.fromisoformat(created)
    except ValueError as error:
        raise broken() from error
    if moment.tzinfo != UTC or not is_id(name):
        raise broken()
    return moment, name
