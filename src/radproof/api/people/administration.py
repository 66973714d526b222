# SPDX-License-Identifier: Apache-2.0
"""The audit trail as it is read, and the settings as far as they are no secrets."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, SecretStr
from sqlalchemy import select

from radproof.api.http.paging import broken, sealed, unsealed
from radproof.api.service import Service
from radproof.store.tables import Event, User

HIDDEN = frozenset({"database", "store", "home", "oidc_client_secret"})  # they may hold passwords, or tell of the disk


class EventFacts(BaseModel):
    """One thing that was done."""

    number: int
    at: datetime
    actor: str  # a user's or worker's id; "" is a stranger
    actor_name: str  # what that user signs in with
    action: str
    object: str
    project: str
    detail: dict[str, Any]
    hash: str


class TrailCheck(BaseModel):
    """Whether every event follows the one before it."""

    whole: bool
    first_broken: int | None = None


def events(service: Service, cursor: str | None = None, limit: int = 50) -> tuple[list[EventFacts], str | None]:
    """Newest first. Raises Problem 422 for a cursor that no page gave."""
    query = select(Event).order_by(Event.number.desc()).limit(limit + 1)
    if cursor:
        told = unsealed(cursor)
        if not (told.isascii() and told.isdigit() and len(told) < 10):
            raise broken()
        query = query.where(Event.number < int(told))
    with service.database.reading() as session:
        found = list(session.execute(query).scalars())
        actors = select(User.id, User.name).where(User.id.in_({one.actor for one in found}))
        names = {user: name for user, name in session.execute(actors)}
    shown = [_event(one, names.get(one.actor, "")) for one in found[:limit]]
    return shown, sealed(str(shown[-1].number)) if len(found) > limit else None


def check_trail(service: Service) -> TrailCheck:
    """Read all of it."""
    found = service.trail.broken()
    return TrailCheck(whole=found is None, first_broken=found)


def shown_settings(service: Service) -> dict[str, Any]:
    """Names and values; of what may hold a secret, only whether it is set."""
    told: dict[str, Any] = {}
    for name in type(service.settings).model_fields:
        value = getattr(service.settings, name)
        if name in HIDDEN or isinstance(value, SecretStr):
            told[name] = "set" if (value.get_secret_value() if isinstance(value, SecretStr) else value) else "not set"
        else:
            told[name] = dict(value) if isinstance(value, dict) else value
    return told


def _event(one: Event, name: str) -> EventFacts:
    return EventFacts(
        number=one.number, at=one.at, actor=one.actor, actor_name=name, action=one.action, object=one.object,
        project=one.project_id, detail=one.detail, hash=one.hash,
    )  # fmt: skip
