# SPDX-License-Identifier: Apache-2.0
"""My account."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import RedirectResponse, Response

from radproof.api.http.problems import Problem
from radproof.api.http.render import page
from radproof.api.people import accounts
from radproof.api.people.access import Caller, Viewer
from radproof.api.people.csrf import set_cookie
from radproof.api.people.lookups import COOKIE, PROJECT
from radproof.api.service import Here, Service
from radproof.errors import BadInput

router = APIRouter(prefix="/account")
Text = Annotated[str, Form(max_length=2000)]
Name = Annotated[str, Path(max_length=40)]
LIVES = ((30, "30 days"), (90, "90 days"), (366, "a year"), (0, "until it is revoked"))


@router.get("")
def show(request: Request, here: Here, who: Viewer) -> Response:
    """The page."""
    return _page(request, here, who)


@router.post("/project")
def choose(here: Here, who: Viewer, project: Text) -> Response:
    """Switch to another project."""
    accounts.choose_project(here, who, project)
    response = RedirectResponse("/?said=switched", 303)
    if who.local:
        set_cookie(response, PROJECT, project, here.settings)
    return response


@router.post("/password")
def change_password(
    request: Request, here: Here, who: Viewer, current: Text = "", new: Text = "", again: Text = "",
    revoke_keys: Text = "",
) -> Response:  # fmt: skip
    """A new password."""
    revoke = bool(revoke_keys)
    try:
        if new != again:
            raise BadInput("password: the two fields differ")
        secret = accounts.change_password(here, who, current, new, revoke=revoke)
    except BadInput as error:
        return _page(request, here, who, error.http_status, password_error=str(error), revoke=revoke)
    except Problem as problem:
        found = _page(request, here, who, problem.status, password_error=problem.detail, revoke=revoke)
        found.headers.update(problem.headers)
        return found
    response = RedirectResponse("/account?said=password", 303)
    set_cookie(response, COOKIE, secret, here.settings)
    return response


@router.post("/keys")
def make_key(request: Request, here: Here, who: Viewer, name: Text = "", days: Annotated[int, Form()] = 90) -> Response:
    """A new key: this answer is the only page that ever shows it, so that it is no redirect."""
    try:
        if days not in dict(LIVES):
            raise BadInput("expires: choose one of the list")
        made = accounts.new_key(here, who, name, days or None)
    except BadInput as error:
        return _page(request, here, who, error.http_status, key_error=str(error), key_name=name)
    return _page(request, here, who, 200, made=made)


@router.post("/keys/{key}/revoke")
def revoke(here: Here, who: Viewer, key: Name) -> Response:
    """A key opens nothing any more."""
    accounts.drop_key(here, who, key)
    return RedirectResponse("/account?said=revoked", 303)


@router.post("/sessions/end")
def end_others(here: Here, who: Viewer) -> Response:
    """Sign every other browser out."""
    accounts.drop_sessions(here, who)
    return RedirectResponse("/account?said=removed", 303)


@router.post("/sessions/{session}/end")
def end_one(here: Here, who: Viewer, session: Name) -> Response:
    """Sign one browser out."""
    accounts.drop_session(here, who, session)
    return RedirectResponse("/account?said=removed", 303)


def _page(request: Request, here: Service, who: Caller, status: int = 200, **told: Any) -> Response:
    none: dict[str, Any] = {"made": None, "key_error": "", "key_name": "", "password_error": "", "revoke": True}
    values = {**none, **told}
    return page(
        request, "account", status, title="Account", account=accounts.account(here, who),
        keys=accounts.keys(here, who), sessions=accounts.sessions(here, who), lives=LIVES, **values,
    )  # fmt: skip
