# SPDX-License-Identifier: Apache-2.0
"""What a project may keep: its quota, looked at in the transaction that would go over it, and files that are kept."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.service import Service
from radproof.store.files import TooLarge
from radproof.store.ids import new_id
from radproof.store.incoming import Staged
from radproof.store.settings import MEGABYTE
from radproof.store.tables import File, Project

_REMEDY = "remove what is no longer needed, or ask for a larger quota"


def check_room(session: Session, service: Service, project: str, size: int) -> None:
    """Whether so many bytes more may come. Raises TooLarge. Two uploads may have come at once: the project waits."""
    session.execute(select(Project.id).where(Project.id == project).with_for_update())
    used, quota = service.files.used(session, project), service.settings.quota_megabytes * MEGABYTE
    if used + size > quota:
        raise TooLarge(f"the project keeps {_shown(used)} of {_shown(quota)}; {_REMEDY}")


def check_begin(session: Session, service: Service, project: str) -> None:
    """Whether a run may begin: what it will write is not known, so it may where the quota is not used up.

    Raises Problem 409.
    """
    used, quota = service.files.used(session, project), service.settings.quota_megabytes * MEGABYTE
    if used >= quota:
        raise Problem(
            409,
            f"no run can begin: the project keeps {_shown(used)} of {_shown(quota)}, finished runs included; {_REMEDY}",
        )


def keep_file(session: Session, service: Service, who: Caller, project: str, file: Staged) -> File:
    """A row for an upload, and its place."""
    service.files.lock(session)
    service.files.keep(file)
    made = File(
        id=new_id("fil"),
        project_id=project,
        created_by=who.user_id,
        sha256=file.sha256,
        size=file.size,
        suffix=file.suffix,
    )
    session.add(made)
    session.flush()
    return made


def _shown(size: int) -> str:
    return f"{size / MEGABYTE:,.1f} MB"
