# SPDX-License-Identifier: Apache-2.0
"""Signing in and out, invitations, OIDC."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import RedirectResponse, Response

from radproof.api.http.limits import address
from radproof.api.http.problems import Problem
from radproof.api.http.render import page
from radproof.api.people import oidc, signing
from radproof.api.people.access import Caller
from radproof.api.people.csrf import VISIT, drop_cookie, set_cookie, visit
from radproof.api.people.lookups import COOKIE
from radproof.api.service import Here, Service
from radproof.errors import BadInput

router = APIRouter()
Text = Annotated[str, Form(max_length=2000)]
Secret = Annotated[str, Path(max_length=100)]
_OWN = re.compile(r"/(?!/)[A-Za-z0-9_.~/?=&%+,:;@!$*()-]*")


def own_path(told: str) -> str:
    """Where to go after signing in: a path of this server, else "/". No other site, however it is spelt."""
    return told if len(told) <= 2000 and _OWN.fullmatch(told) and not told.startswith("/login") else "/"


@router.get("/login")
def form(request: Request, here: Here, next: str = "/") -> Response:
    """The form."""
    if _who(request) is not None:
        return RedirectResponse(own_path(next), 303)
    return _form(request, here, "login", title="Sign in", next=own_path(next), typed="", error="", oidc=oidc.on(here))


@router.post("/login")
def enter(request: Request, here: Here, name: Text = "", password: Text = "", next: Text = "/") -> Response:
    """Sign in."""
    before = _who(request)
    try:
        secret = signing.sign_in(here, name, password, address(request, here.settings))
    except Problem as problem:
        values = {"title": "Sign in", "next": own_path(next), "typed": name, "oidc": oidc.on(here)}
        return _form(request, here, "login", problem.status, problem.headers, error=problem.detail, **values)
    return signed_in(here, secret, before, own_path(next))


@router.post("/logout")
def leave(request: Request, here: Here) -> Response:
    """Sign out."""
    who = _who(request)
    if who is not None:
        signing.sign_out(here, who)
    response = RedirectResponse("/login?said=signed-out", 303)
    drop_cookie(response, COOKIE, here.settings)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


@router.get("/invite/{secret}")
def invitation(request: Request, here: Here, secret: Secret) -> Response:
    """The form of a link that works once. Looking at it does not use it up: mail scanners look."""
    return _invited(request, here, signing.link(here, secret), "", "")


@router.post("/invite/{secret}")
def accept(
    request: Request, here: Here, secret: Secret, name: Text = "", password: Text = "", again: Text = ""
) -> Response:
    """Make the account or set the password, and sign in."""
    found = signing.link(here, secret)
    try:
        if password != again:
            raise BadInput("password: the two fields differ")
        session = signing.use_link(here, secret, name, password, address(request, here.settings))
    except BadInput as error:
        return _invited(request, here, found, name, str(error), error.http_status)
    except Problem as problem:
        if problem.status != 429:
            raise
        return _invited(request, here, found, name, problem.detail, 429, problem.headers)
    return signed_in(here, session, _who(request), "/?said=" + ("password" if found.name else "welcome"))


@router.get("/login/oidc")
def to_provider(request: Request, here: Here, next: str = "/") -> Response:
    """Off to the identity provider."""
    here.limits.take("sign-in", address(request, here.settings))
    target, cookie = oidc.start(here, own_path(next))
    response = RedirectResponse(target, 303)
    set_cookie(response, oidc.COOKIE, cookie, here.settings, oidc.SECONDS)
    return response


@router.get("/login/oidc/back")
def from_provider(request: Request, here: Here) -> Response:
    """Back from it, with a code for a token."""
    here.limits.take("sign-in", address(request, here.settings))
    secret, target = oidc.finish(here, request)
    response = signed_in(here, secret, _who(request), own_path(target))
    drop_cookie(response, oidc.COOKIE, here.settings)
    return response


def signed_in(here: Service, secret: str, before: Caller | None, target: str) -> Response:
    """The new session's cookie; the session that the browser had before ends."""
    if before is not None:
        signing.sign_out(here, before)
    response = RedirectResponse(target, 303)
    set_cookie(response, COOKIE, secret, here.settings)
    drop_cookie(response, VISIT, here.settings)
    return response


def _who(request: Request) -> Caller | None:
    return getattr(request.state, "caller", None)


def _invited(
    request: Request, here: Service, found: signing.Link, name: str, error: str, status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    title = "Choose a new password" if found.name else "Create your account"
    return _form(request, here, "invite", status, headers, title=title, link=found, typed=name, error=error)


def _form(
    request: Request, here: Service, template: str, status: int = 200, headers: dict[str, str] | None = None,
    **values: Any,
) -> Response:  # fmt: skip
    who = _who(request)
    if who is not None:
        return page(request, template, status, **values)
    cookie, token = visit(request, here.settings)
    response = page(request, template, status, csrf=token, **values)
    set_cookie(response, VISIT, cookie, here.settings)
    response.headers.update(headers or {})
    return response
