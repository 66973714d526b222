# SPDX-License-Identifier: Apache-2.0
"""Links that work once: for the first administrator, for a new person, and for a new password."""

import re
import secrets
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, Select, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from radproof.store.ids import new_id
from radproof.store.sessions import digest
from radproof.store.tables import Invitation, Role, User, now

HOURS = 48
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def invite(
    session: Session,
    role: Role,
    *,
    project: str | None = None,
    user_id: str | None = None,
    created_by: str | None = None,
) -> tuple[Invitation, str]:
    """A new one, and the secret of its link. `user_id`: for that person's new password; their older links end.

    `created_by`: the administrator who made it, with whose rights it ends; None: at the server's own machine.
    """
    if user_id is not None:
        forget_links(session, user_id)
    secret = secrets.token_urlsafe(32)
    made = Invitation(
        id=new_id("inv"),
        hash=digest(secret),
        role=role,
        user_id=user_id,
        project_id=project,
        created_by=created_by,
        expires=now() + timedelta(hours=HOURS),
    )
    session.add(made)
    session.flush()
    return made, secret


def found_invitation(session: Session, secret: str) -> Invitation | None:
    """The one of this secret; None where it was used, replaced, is too old, or its maker may make none any more."""
    if not _TOKEN.fullmatch(secret):
        return None
    return session.execute(open_invitations().where(Invitation.hash == digest(secret))).scalar_one_or_none()


def open_invitations() -> Select[Invitation]:
    """Those that still open something."""
    may = and_(User.disabled.is_(False), User.role == "admin")
    return (
        select(Invitation)
        .outerjoin(User, User.id == Invitation.created_by)
        .where(Invitation.used.is_(None), Invitation.expires > now(), or_(Invitation.created_by.is_(None), may))
    )


def use_invitation(session: Session, found: Invitation) -> bool:
    """Use it up. False: somebody was quicker. One conditional UPDATE: of two at the same moment, one succeeds."""
    done = session.execute(
        update(Invitation)
        .where(Invitation.id == found.id, Invitation.used.is_(None), Invitation.expires > now())
        .values(used=now())
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", done).rowcount == 1


def forget_links(session: Session, user_id: str) -> None:
    """A person's unused links for a new password open nothing any more."""
    session.execute(delete(Invitation).where(Invitation.user_id == user_id, Invitation.used.is_(None)))


def forget_made(session: Session, user_id: str) -> int:
    """Nor do unused links that a person made, whoever they are for; how many those were."""
    gone = delete(Invitation).where(Invitation.created_by == user_id, Invitation.used.is_(None))
    return cast("CursorResult[Any]", session.execute(gone)).rowcount


def revoke_invitation(session: Session, invitation_id: str) -> bool:
    """It opens nothing any more. False: it opened nothing before."""
    found = session.execute(open_invitations().where(Invitation.id == invitation_id)).scalar_one_or_none()
    if found is None:
        return False
    gone = delete(Invitation).where(Invitation.id == found.id, Invitation.used.is_(None))
    return cast("CursorResult[Any]", session.execute(gone)).rowcount == 1


def forget_first(session: Session) -> None:
    """Nor do unused links of invited administrators, while there is none to have invited them."""
    unused = (Invitation.used.is_(None), Invitation.role == "admin", Invitation.user_id.is_(None))
    session.execute(delete(Invitation).where(*unused))
