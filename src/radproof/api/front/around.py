# SPDX-License-Identifier: Apache-2.0
"""What stands around every request: the Host check, headers, who asks, CSRF and limits. Nothing is held back."""

import re
import secrets
from urllib.parse import urlencode

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from radproof.api.http import bodies
from radproof.api.http.headers import allowed, host_of, passed_on, set_headers
from radproof.api.http.limits import address
from radproof.api.http.problems import BROKEN, MEDIA, Problem, answer
from radproof.api.http.wanted import SCREENING
from radproof.api.people import csrf
from radproof.api.people.access import Caller
from radproof.api.people.lookups import COOKIE as COOKIE
from radproof.api.people.lookups import caller_of
from radproof.api.service import Service
from radproof.errors import RadproofError
from radproof.store.keys import SECRET

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
PUBLIC = frozenset({"/login", "/login/oidc", "/login/oidc/back", "/healthz", "/readyz", "/metrics", "/favicon.ico"})
PUBLIC_UNDER = ("/static/", "/invite/")
UNCOUNTED = ("/static/", "/healthz", "/readyz", "/metrics")
LONGEST = 8000  # characters of an address
_PATH = re.compile(r"[^\x00-\x1f\x7f\\]*")
_NAMED_KEY = re.compile(SECRET)


def install(app: FastAPI, service: Service) -> None:
    """Put it around."""
    app.add_middleware(Around, service=service)


class Around:
    """An application that strangers and other sites cannot use."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        number = None if "request" in state else state.setdefault("request", secrets.token_hex(8))
        started = False

        async def answered(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                set_headers(headers, self.service.settings)
                if number:
                    headers["X-Request-Id"] = number
            await send(message)

        request = Request(scope, receive)
        request.state.caller = None
        try:
            found = await self._before(request, receive)
            if isinstance(found, Response):
                await found(scope, receive, answered)
            else:
                await self.app(scope, found, answered)
        except ClientDisconnect:
            return
        except (Problem, RadproofError) as error:
            told = error if isinstance(error, Problem) else Problem(error.http_status, str(error))
            await answer(request, told)(scope, receive, answered)
        except Exception:
            if not started:
                await answer(request, Problem(500, BROKEN))(scope, receive, answered)
            raise

    async def _before(self, request: Request, receive: Receive) -> Receive | Response:
        """The body for the application, or the answer that it need not give. Raises Problem."""
        settings = self.service.settings
        refused = _host(request, self.service)
        if refused is not None:
            return refused
        _sane(request)
        if not settings.auth:
            _direct(request)
        path, safe = request.url.path, request.method in csrf.SAFE
        keyed = "authorization" in request.headers
        try:
            who = request.state.caller = await caller_of(request, self.service)
        finally:  # guesses of keys count as well
            known: Caller | None = request.state.caller
            if not path.startswith(UNCOUNTED):
                kind = "read" if safe else "screen" if path in SCREENING else "write"
                self.service.limits.take(kind, known.user_id if known else address(request, settings))
        if who is None and path not in PUBLIC and not path.startswith(PUBLIC_UNDER):
            return _to_sign_in(request)
        if safe:
            return receive
        bodies.check_declared(request)
        upload = bodies.is_upload(request)
        if not keyed:
            csrf.check_origin(request, settings)
        body = b"" if upload else await bodies.whole(receive)
        read: list[Message] = [] if upload else [{"type": "http.request", "body": body, "more_body": False}]
        if not keyed and not _program(request, self.service):
            wanted = csrf.expected(request, who, settings)
            shown = request.headers.get(csrf.HEADER)
            if shown is None and bodies.media(request) == "application/x-www-form-urlencoded":
                shown = csrf.in_form(body)
            elif shown is None and bodies.media(request) == "multipart/form-data":
                read = await bodies.beginning(receive) if upload else read
                shown = csrf.in_first_part(b"".join(one.get("body", b"") for one in read))
            csrf.check_token(shown, wanted)
        if bodies.is_json(request):  # after the token: strangers get no work done
            await run_in_threadpool(bodies.check_json, body)
        return bodies.again(read, receive)


def _host(request: Request, service: Service) -> Response | None:
    told = [value for name, value in request.headers.raw if name == b"host"]
    name = host_of(told[0].decode("latin-1")) if len(told) == 1 else None
    if name is None:
        return _bare(400, "Bad request", "expected one Host header with the server's name")
    if not allowed(name, service.settings):
        return _bare(421, "Misdirected request", "the server does not go by this name; an operator can allow it")
    return None


def _bare(status: int, title: str, detail: str) -> Response:
    told = {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": []}
    return JSONResponse(told, status, media_type=MEDIA)


def _direct(request: Request) -> None:
    """Without sign-in nobody asks for others. Raises Problem 403 for what a proxy passes on."""
    if passed_on(request):
        raise Problem(403, "sign-in is off, and a proxy passed this request on: whoever reaches the proxy would be the "
                           "administrator; turn sign-in on")  # fmt: skip


def _sane(request: Request) -> None:
    """Raises Problem for what no page and no client of ours sends."""
    if request.method not in METHODS:
        raise Problem(405, "no such method here")
    path, query = request.url.path, request.scope.get("query_string", b"").decode("latin-1")
    if len(path) + len(query) > LONGEST:
        raise Problem(414, f"the address is longer than {LONGEST} characters")
    if not _PATH.fullmatch(path) or "//" in path or {"..", "."} & set(path.split("/")):
        raise Problem(404, "no such page or method here")
    if "%00" in query:
        raise Problem(400, "the address holds the character NUL")
    if _NAMED_KEY.search(query) or _NAMED_KEY.search(path):
        raise Problem(400, "an API key never goes into an address, where logs keep it: revoke this one and send a new "
                           "one as `Authorization: Bearer …`")  # fmt: skip


def _program(request: Request, service: Service) -> bool:
    """Whether no browser asks, on a server without sign-in: those say where a request comes from."""
    said = "origin" in request.headers or "sec-fetch-site" in request.headers
    return not service.settings.auth and not said and request.url.path.startswith("/api/")


def _to_sign_in(request: Request) -> Response:
    """Programs are told so, people are led to the form and from there to where they wanted to go."""
    path, query = request.url.path, request.url.query
    if path.startswith("/api/"):
        raise Problem(
            401, "sign in, or send an API key as `Authorization: Bearer …`", headers={"WWW-Authenticate": "Bearer"}
        )
    wanted = f"{path}?{query}" if query else path
    reads = request.method in ("GET", "HEAD") and "hx-request" not in request.headers and wanted != "/"
    target = "/login?" + urlencode({"next": wanted}) if reads else "/login"
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)
