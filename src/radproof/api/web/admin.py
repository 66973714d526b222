# SPDX-License-Identifier: Apache-2.0
"""Administration."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import RedirectResponse, Response

from radproof.api.http.paging import Cursor
from radproof.api.http.problems import Problem
from radproof.api.http.render import page
from radproof.api.people import administration, invitations, managing
from radproof.api.people.access import Admin
from radproof.api.service import Here, Service
from radproof.errors import BadInput
from radproof.store.people import ROLES, role_of

router = APIRouter(prefix="/admin")
Text = Annotated[str, Form(max_length=2000)]
Name = Annotated[str, Path(max_length=40)]
PEOPLE, PROJECTS = "/admin/people", "/admin/projects"
LINKS = 100  # that one page shows


@router.get("")
def overview(request: Request, here: Here, who: Admin) -> Response:
    """How the server is set up, and where to go."""
    return page(request, "admin", title="Administration", settings=administration.shown_settings(here))


@router.get("/people")
def everybody(request: Request, here: Here, who: Admin, cursor: Cursor = None) -> Response:
    """People, and a form to invite more."""
    return _people(request, here, cursor)


@router.post("/people/invite")
def invite(request: Request, here: Here, who: Admin, role: Text = "viewer", project: Text = "") -> Response:
    """A link for somebody new: this answer is the only page that ever shows it, so that it is no redirect."""
    try:
        made = managing.invite_person(here, who, role_of(role), project or None)
    except BadInput as error:
        return _people(request, here, status=error.http_status, error=str(error))
    return _people(request, here, made=made)


@router.post("/people/invitations/{invitation}/revoke")
def revoke(here: Here, who: Admin, invitation: Name) -> Response:
    """The link opens nothing any more."""
    invitations.revoke(here, who, invitation)
    return RedirectResponse(f"{PEOPLE}?said=revoked", 303)


@router.post("/people/{person}/reset")
def reset(request: Request, here: Here, who: Admin, person: Name) -> Response:
    """A link for a new password, shown this once."""
    found = managing.person(here, person)
    try:
        made = managing.reset_link(here, who, person)
    except Problem as problem:
        return _people(request, here, status=problem.status, error=problem.detail)
    return _people(request, here, made=made, made_for=found.name)


@router.post("/people/{person}/role")
def change_role(request: Request, here: Here, who: Admin, person: Name, role: Text) -> Response:
    """Another role."""
    try:
        managing.set_role(here, who, person, role_of(role))
    except BadInput as error:
        return _people(request, here, status=error.http_status, error=str(error))
    return RedirectResponse(f"{PEOPLE}?said=saved", 303)


@router.post("/people/{person}/disable")
def disable(request: Request, here: Here, who: Admin, person: Name) -> Response:
    """They cannot come in any more."""
    try:
        managing.set_disabled(here, who, person, True)
    except BadInput as error:
        return _people(request, here, status=error.http_status, error=str(error))
    return RedirectResponse(f"{PEOPLE}?said=disabled", 303)


@router.post("/people/{person}/enable")
def enable(here: Here, who: Admin, person: Name) -> Response:
    """They may come in again."""
    managing.set_disabled(here, who, person, False)
    return RedirectResponse(f"{PEOPLE}?said=enabled", 303)


@router.get("/projects")
def projects(request: Request, here: Here, who: Admin, cursor: Cursor = None) -> Response:
    """Projects and their members."""
    return _projects(request, here, cursor)


@router.post("/projects")
def make_project(request: Request, here: Here, who: Admin, name: Text = "") -> Response:
    """A new project."""
    try:
        managing.new_project(here, who, name)
    except BadInput as error:
        return _projects(request, here, status=error.http_status, error=str(error), typed=name)
    return RedirectResponse(f"{PROJECTS}?said=made", 303)


@router.post("/projects/{project}/rename")
def rename(request: Request, here: Here, who: Admin, project: Name, name: Text = "") -> Response:
    """Another name."""
    try:
        managing.rename_project(here, who, project, name)
    except BadInput as error:
        return _projects(request, here, status=error.http_status, error=str(error))
    return RedirectResponse(f"{PROJECTS}?said=renamed", 303)


@router.post("/projects/{project}/members")
def join(here: Here, who: Admin, project: Name, person: Text) -> Response:
    """A new member."""
    managing.join(here, who, project, person)
    return RedirectResponse(f"{PROJECTS}?said=added", 303)


@router.post("/projects/{project}/members/{person}/remove")
def leave(here: Here, who: Admin, project: Name, person: Name) -> Response:
    """One member less."""
    managing.leave(here, who, project, person)
    return RedirectResponse(f"{PROJECTS}?said=removed", 303)


@router.get("/trail")
def trail(request: Request, here: Here, who: Admin, cursor: Cursor = None) -> Response:
    """What was done, newest first."""
    items, after = administration.events(here, cursor)
    return page(request, "admin_trail", title="Audit trail", events=items, next=after, first=cursor, check=None)


@router.post("/trail/check")
def check(request: Request, here: Here, who: Admin) -> Response:
    """Read all of it, and say whether it is whole."""
    items, after = administration.events(here)
    found = administration.check_trail(here)
    return page(request, "admin_trail", title="Audit trail", events=items, next=after, first=None, check=found)


def _people(request: Request, here: Service, cursor: str | None = None, status: int = 200, **told: Any) -> Response:
    items, after = managing.people(here, cursor)
    links, more = invitations.invitations(here, limit=LINKS)
    values: dict[str, Any] = {"made": None, "made_for": "", "error": "", **told}
    return page(
        request, "admin_people", status, title="People", people=items, next=after, first=cursor, roles=ROLES,
        shelves=managing.project_names(here), links=links, most_links=LINKS if more else 0, **values,
    )  # fmt: skip


def _projects(request: Request, here: Service, cursor: str | None = None, status: int = 200, **told: Any) -> Response:
    items, after = managing.projects(here, cursor)
    values: dict[str, Any] = {"error": "", "typed": "", **told}
    return page(
        request, "admin_projects", status, title="Projects", shelves=items, next=after, first=cursor,
        people=managing.names(here), **values,
    )  # fmt: skip
