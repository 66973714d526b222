# SPDX-License-Identifier: Apache-2.0
"""People, projects, settings and the audit trail."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from radproof.api.http.etags import conditional, unchanged
from radproof.api.http.paging import Cursor, Limit, Page
from radproof.api.http.problems import responses
from radproof.api.people import administration, invitations, managing
from radproof.api.people.access import Admin
from radproof.api.people.administration import EventFacts, TrailCheck
from radproof.api.people.invitations import InvitationFacts
from radproof.api.people.managing import NewLink, Person, ProjectFacts
from radproof.api.service import Here
from radproof.store.tables import Role

router = APIRouter(prefix="/admin", tags=["admin"])
Name = Annotated[str, Path(max_length=40)]


class Invited(BaseModel):
    """Who is invited: their role, and where they will belong."""

    role: Role = "viewer"
    project: str | None = Field(None, max_length=40)


class PersonChange(BaseModel):
    """What changes about a person."""

    role: Role | None = None
    disabled: bool | None = None


class ProjectName(BaseModel):
    """What a project is called."""

    name: str = Field(max_length=80)


@router.get("/people", responses=responses(401, 403, 422))
def list_people(here: Here, who: Admin, limit: Limit = 50, cursor: Cursor = None) -> Page[Person]:
    """Everybody, by name."""
    items, after = managing.people(here, cursor, limit)
    return Page(items=items, next=after)


@router.post("/people/invitations", status_code=201, responses=responses(401, 403, 404))
def invite(here: Here, who: Admin, told: Invited) -> NewLink:
    """Make a link by which somebody new signs up, once, within 48 hours. It is shown this once."""
    return managing.invite_person(here, who, told.role, told.project)


@router.get("/people/invitations", responses=responses(401, 403, 422))
def list_invitations(here: Here, who: Admin, limit: Limit = 50, cursor: Cursor = None) -> Page[InvitationFacts]:
    """Links that were not used yet, newest first."""
    items, after = invitations.invitations(here, cursor, limit)
    return Page(items=items, next=after)


@router.delete("/people/invitations/{invitation}", status_code=204, responses=responses(401, 403, 404))
def revoke_invitation(here: Here, who: Admin, invitation: Name) -> None:
    """Take an invitation back; from now on its link opens nothing."""
    invitations.revoke(here, who, invitation)


@router.get("/people/{person}", response_model=Person, responses=responses(401, 403, 404))
def read_person(request: Request, here: Here, who: Admin, person: Name) -> Response:
    """One person."""
    return conditional(request, managing.person(here, person))


@router.patch("/people/{person}", response_model=Person, responses=responses(401, 403, 404, 409, 412))
def change_person(request: Request, here: Here, who: Admin, person: Name, told: PersonChange) -> Response:
    """Another role, or disabled. Their browsers are signed out; the last administrator stays one."""
    unchanged(request, managing.person(here, person))
    if told.role is not None:
        managing.set_role(here, who, person, told.role)
    if told.disabled is not None:
        managing.set_disabled(here, who, person, told.disabled)
    return conditional(request, managing.person(here, person))


@router.post("/people/{person}/reset", status_code=201, responses=responses(401, 403, 404, 409))
def reset(here: Here, who: Admin, person: Name) -> NewLink:
    """Make a link by which a person sets a new password, once, within 48 hours. It is shown this once."""
    return managing.reset_link(here, who, person)


@router.get("/projects", responses=responses(401, 403, 422))
def list_projects(here: Here, who: Admin, limit: Limit = 50, cursor: Cursor = None) -> Page[ProjectFacts]:
    """All projects and their members, by name. What is in them, members alone see."""
    items, after = managing.projects(here, cursor, limit)
    return Page(items=items, next=after)


@router.post("/projects", status_code=201, responses=responses(401, 403, 409))
def make_project(here: Here, who: Admin, told: ProjectName) -> ProjectFacts:
    """Make a project; I am its first member."""
    return managing.new_project(here, who, told.name)


@router.patch("/projects/{project}", response_model=ProjectFacts, responses=responses(401, 403, 404, 409, 412))
def rename_project(request: Request, here: Here, who: Admin, project: Name, told: ProjectName) -> Response:
    """Give a project another name."""
    unchanged(request, managing.project(here, project))
    return conditional(request, managing.rename_project(here, who, project, told.name))


@router.put("/projects/{project}/members/{person}", status_code=204, responses=responses(401, 403, 404))
def join(here: Here, who: Admin, project: Name, person: Name) -> None:
    """Make a person a member."""
    managing.join(here, who, project, person)


@router.delete("/projects/{project}/members/{person}", status_code=204, responses=responses(401, 403, 404))
def leave(here: Here, who: Admin, project: Name, person: Name) -> None:
    """End a membership."""
    managing.leave(here, who, project, person)


@router.get("/trail", responses=responses(401, 403, 422))
def list_events(here: Here, who: Admin, limit: Limit = 50, cursor: Cursor = None) -> Page[EventFacts]:
    """What was done, newest first."""
    items, after = administration.events(here, cursor, limit)
    return Page(items=items, next=after)


@router.get("/trail/check", responses=responses(401, 403))
def check_trail(here: Here, who: Admin) -> TrailCheck:
    """Read the whole trail, and say whether every event follows the one before it."""
    return administration.check_trail(here)


@router.get("/settings", responses=responses(401, 403))
def read_settings(here: Here, who: Admin) -> dict[str, Any]:
    """How the server is set up; of secrets, only whether they are set."""
    return administration.shown_settings(here)
