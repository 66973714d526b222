# SPDX-License-Identifier: Apache-2.0
"""Who I am, my projects and my API keys."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from radproof.api.http.etags import conditional, unchanged
from radproof.api.http.paging import Page
from radproof.api.http.problems import responses
from radproof.api.people import accounts
from radproof.api.people.access import Viewer
from radproof.api.people.accounts import Account, KeyFacts, NewKey, SessionFacts
from radproof.api.people.csrf import set_cookie
from radproof.api.people.lookups import COOKIE, PROJECT
from radproof.api.service import Here
from radproof.store.passwords import LONGEST

router = APIRouter(prefix="/account", tags=["account"])
KeyName = Annotated[str, Path(max_length=40)]
SessionName = Annotated[str, Path(max_length=40)]


class Choice(BaseModel):
    """Which project is the current one."""

    project: str = Field(max_length=40)


class NewPassword(BaseModel):
    """The present password, and the one that replaces it."""

    current: str = Field(max_length=LONGEST)
    new: str = Field(max_length=LONGEST)
    revoke_keys: bool = Field(True, description="whether API keys made until now open nothing any more")


class KeyWanted(BaseModel):
    """What a new key is called, and how long it lives."""

    name: str = Field(max_length=80)
    days: int | None = Field(90, ge=1, le=accounts.LONGEST_DAYS, description="null: until it is revoked")


@router.get("", response_model=Account, responses=responses(401))
def read_account(request: Request, here: Here, who: Viewer) -> Response:
    """Who I am, and my projects."""
    return conditional(request, accounts.account(here, who))


@router.patch("", responses=responses(401, 404, 412))
def change_account(request: Request, here: Here, who: Viewer, told: Choice, response: Response) -> Account:
    """Choose the current project of this browser."""
    unchanged(request, accounts.account(here, who))
    accounts.choose_project(here, who, told.project)
    if who.local:
        set_cookie(response, PROJECT, told.project, here.settings)
    found = accounts.account(here, who)
    return found.model_copy(update={"project": told.project}) if not who.by_key else found


@router.post("/password", status_code=204, responses=responses(401, 403, 409, 429))
def change_password(here: Here, who: Viewer, told: NewPassword) -> Response:
    """Change my password. Every browser is signed out; this one gets a new session. My API keys are revoked."""
    response = Response(status_code=204)
    secret = accounts.change_password(here, who, told.current, told.new, revoke=told.revoke_keys)
    set_cookie(response, COOKIE, secret, here.settings)
    return response


@router.get("/keys", responses=responses(401))
def list_keys(here: Here, who: Viewer) -> Page[KeyFacts]:
    """My API keys, newest first; at most 50, so that one page holds all."""
    return Page(items=accounts.keys(here, who))


@router.post("/keys", status_code=201, responses=responses(401, 403))
def make_key(here: Here, who: Viewer, told: KeyWanted) -> NewKey:
    """Make an API key. It can do what I can do, but make no keys and change no people or projects. Shown this once."""
    return accounts.new_key(here, who, told.name, told.days)


@router.delete("/keys/{key}", status_code=204, responses=responses(401, 404))
def revoke_key(here: Here, who: Viewer, key: KeyName) -> None:
    """Revoke an API key; from now on it opens nothing."""
    accounts.drop_key(here, who, key)


@router.get("/sessions", responses=responses(401))
def list_sessions(here: Here, who: Viewer) -> Page[SessionFacts]:
    """The browsers where I am signed in, newest first."""
    return Page(items=accounts.sessions(here, who))


@router.delete("/sessions", status_code=204, responses=responses(401))
def end_sessions(here: Here, who: Viewer) -> None:
    """Sign every other browser out."""
    accounts.drop_sessions(here, who)


@router.delete("/sessions/{session}", status_code=204, responses=responses(401, 404))
def end_session(here: Here, who: Viewer, session: SessionName) -> None:
    """Sign one browser out."""
    accounts.drop_session(here, who, session)
