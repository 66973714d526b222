# SPDX-License-Identifier: Apache-2.0
"""Links that were made and not used yet: who they are for, who made them, and taking one back."""

from datetime import datetime
from typing import Any, cast

from pydantic import BaseModel
from sqlalchemy import select

from radproof.api.http.paging import paged
from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.people.accounts import by_session
from radproof.api.service import Service
from radproof.store.ids import is_id
from radproof.store.invitations import open_invitations, revoke_invitation
from radproof.store.people import role_of
from radproof.store.tables import Invitation, Project, Role, User


class InvitationFacts(BaseModel):
    """An open link, without its secret."""

    id: str
    role: Role
    person: str | None  # whose new password it sets; null: for somebody new
    project: str | None  # by name: where somebody new will belong
    made_by: str | None  # who signs in with this name; null: at the server's own machine
    created: datetime
    expires: datetime


def invitations(
    service: Service, cursor: str | None = None, limit: int = 50
) -> tuple[list[InvitationFacts], str | None]:
    """Those that still open something, newest first. Raises Problem 422 for a cursor that no page gave."""
    with service.database.reading() as session:
        found, after = paged(session, cast(Any, open_invitations()), cast(Any, Invitation), cursor, limit)
        kept = cast("list[Invitation]", found)
        asked = {one for row in kept for one in (row.user_id, row.created_by)}
        users = {id: name for id, name in session.execute(select(User.id, User.name).where(User.id.in_(asked)))}
        shelves = select(Project.id, Project.name).where(Project.id.in_({row.project_id for row in kept}))
        projects = {id: name for id, name in session.execute(shelves)}
    shown = [
        InvitationFacts(
            id=one.id, role=role_of(one.role), person=users.get(one.user_id or ""),
            project=projects.get(one.project_id or ""), made_by=users.get(one.created_by or ""),
            created=one.created, expires=one.expires,
        )
        for one in kept
    ]  # fmt: skip
    return shown, after


def revoke(service: Service, who: Caller, invitation: str) -> None:
    """The link opens nothing any more. Raises Problem 403, 404."""
    by_session(who)
    with service.database.writing() as session:
        if not is_id(invitation, "inv") or not revoke_invitation(session, invitation):
            raise Problem(404, "no open invitation of that name; it was used or revoked, or it is too old")
        service.trail.add(session, "invitation.revoke", actor=who.user_id, object=invitation)
