# SPDX-License-Identifier: Apache-2.0
"""Users, their roles, and the projects that they belong to. There is no default user and no default password."""

import re
from typing import ClassVar, Protocol

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from radproof.errors import BadInput
from radproof.store.database import Database
from radproof.store.ids import new_id
from radproof.store.invitations import forget_first, forget_links, forget_made, invite
from radproof.store.keys import revoke_keys
from radproof.store.sessions import end_sessions
from radproof.store.settings import Settings
from radproof.store.tables import Membership, Project, Role, User
from radproof.store.trail import Trail

ROLES: tuple[Role, ...] = ("viewer", "clinician", "developer", "admin")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # no browser opens these; here it can be opened as
LOCAL = "local"  # the user and the project of a server without sign-in
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{1,63}")
_TITLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]{1,80}")


class Taken(BadInput):
    """A name that somebody else has, or a step that would leave nobody to administer."""

    http_status: ClassVar[int] = 409


class Parts(Protocol):
    """What the first start needs of a server."""

    @property
    def settings(self) -> Settings:
        """How it is set up."""
        ...

    @property
    def database(self) -> Database:
        """Where it keeps people."""
        ...

    @property
    def trail(self) -> Trail:
        """Where it is told."""
        ...


def user_name(told: str) -> str:
    """A name to sign in with, in lower case. Raises BadInput."""
    name = told.strip().lower()
    if not _NAME.fullmatch(name) or name == LOCAL:
        raise BadInput("name: expected 2 to 64 of a-z, 0-9 and . _ @ + - (not first), such as ada@example.org")
    return name


def title(told: str, what: str = "name") -> str:
    """A name of a project or a key. Raises BadInput."""
    name = " ".join(told.split(" ")).strip()
    if not _TITLE.fullmatch(name):
        raise BadInput(f"{what}: expected 1 to 80 characters on one line")
    return name


def role_of(told: str) -> Role:
    """Raises BadInput for another word."""
    for role in ROLES:
        if role == told:
            return role
    raise BadInput(f"role: expected one of {', '.join(ROLES)}")


def named(session: Session, name: str) -> User | None:
    """The user who signs in with this name."""
    return session.execute(select(User).where(User.name == name.strip().lower())).scalar_one_or_none()


def add_user(
    session: Session, name: str, role: Role, *, password: str | None = None, subject: str | None = None
) -> User:
    """A new user; `password` is a hash. Raises Taken."""
    if named(session, name) is not None:
        raise Taken("name: somebody signs in with it already; choose another")
    user = User(id=new_id("usr"), name=name, role=role, password=password, subject=subject)
    session.add(user)
    session.flush()
    return user


def administrators(session: Session) -> list[User]:
    """Those who can sign in; locked until the transaction ends, so that two cannot both be the last but one."""
    may = (User.role == "admin", User.disabled.is_(False), or_(User.password.is_not(None), User.subject.is_not(None)))
    return list(session.execute(select(User).where(*may).order_by(User.id).with_for_update()).scalars())


def set_role(session: Session, user: User, role: Role) -> int:
    """Another role; every browser of theirs has to sign in anew. Raises Taken for the last administrator.

    Unused invitations that they made as an administrator end: how many.
    """
    if role != "admin":
        _keep_one(session, user)
    user.role = role
    end_sessions(session, user.id)
    session.flush()
    return forget_made(session, user.id) if role != "admin" else 0


def disable(session: Session, user: User) -> int:
    """They cannot come in any more: sessions end, keys are revoked, links forgotten. Raises Taken for the last one.

    So do unused invitations that they made: how many.
    """
    _keep_one(session, user)
    user.disabled = True
    end_sessions(session, user.id)
    revoke_keys(session, user.id)
    forget_links(session, user.id)
    session.flush()
    return forget_made(session, user.id)


def add_project(session: Session, name: str) -> Project:
    """A new project without members. Raises Taken."""
    _free(session, name)
    project = Project(id=new_id("prj"), name=name)
    session.add(project)
    session.flush()
    return project


def rename_project(session: Session, project: Project, name: str) -> None:
    """Raises Taken."""
    if name != project.name:
        _free(session, name)
        project.name = name
        session.flush()


def add_member(session: Session, user: User, project: Project) -> bool:
    """False: they belonged to it already."""
    if session.get(Membership, (user.id, project.id)) is not None:
        return False
    session.add(Membership(user_id=user.id, project_id=project.id))
    session.flush()
    return True


def remove_member(session: Session, user_id: str, project_id: str) -> bool:
    """False: they did not belong to it."""
    gone = delete(Membership).where(Membership.user_id == user_id, Membership.project_id == project_id)
    return session.execute(gone.returning(Membership.user_id)).first() is not None


def local_user(session: Session) -> User:
    """Whoever asks a server without sign-in: an administrator who can never sign in."""
    user = session.execute(select(User).where(User.name == LOCAL)).scalar_one_or_none()
    if user is None:
        user = User(id=new_id("usr"), name=LOCAL, role="admin")
        session.add(user)
    if session.execute(select(Project.id).limit(1)).first() is None:
        session.add(Project(id=new_id("prj"), name=LOCAL))
    session.flush()
    return user


def first_admin_link(service: Parts, address: str = "") -> str | None:
    """The link by which the first administrator signs up, once; None where there is one. An older link ends.

    `address`: how browsers reach the server; else it is that of the settings.
    """
    with service.database.writing() as session:
        if administrators(session):
            return None
        forget_first(session)
        made, secret = invite(session, "admin")
        service.trail.add(session, "invitation.make", object=made.id, role="admin", first=True)
    return f"{(address or server_address(service.settings)).rstrip('/')}/invite/{secret}"


def server_address(settings: Settings, port: int | None = None) -> str:
    """How browsers on this machine, or by public_url everywhere, reach the server; `port`: not the set one."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = _EVERYWHERE.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.port if port is None else port}"


def _keep_one(session: Session, user: User) -> None:
    if [one.id for one in administrators(session)] == [user.id]:
        raise Taken("this is the last administrator; make somebody else one first")


def _free(session: Session, name: str) -> None:
    if session.execute(select(Project.id).where(Project.name == name)).first() is not None:
        raise Taken("name: a project has it already; choose another")
