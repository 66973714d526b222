# SPDX-License-Identifier: Apache-2.0
"""Whether a request that changes something was made by our own page.

A browser shows its token in the header X-CSRF-Token or in the form field csrf_token. In a multipart form that field
comes first: then the token is checked before any file is read, and nothing is held back. Where the browser says which
site the request comes from, that has to be this one. API keys need no token: no browser sends them by itself.
"""

import hashlib
import hmac
import re
import secrets
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.store.settings import Settings

HEADER, FIELD = "X-CSRF-Token", "csrf_token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
VISIT = "radproof_visit"
MOST_FIELDS = 1000
_VISIT = re.compile(r"[A-Za-z0-9_-]{43}")
_FIRST = re.compile(rb"--([^\r\n]{1,200})\r\n((?:[^\r\n]{1,500}\r\n){1,5})\r\n([^\r\n]{0,200})\r\n--")


def cookie_name(name: str, settings: Settings) -> str:
    """With TLS, `__Host-` before it: browsers then take it from this server alone, and for the whole of it."""
    return f"__Host-{name}" if settings.secure else name


def set_cookie(response: Response, name: str, value: str, settings: Settings, seconds: int | None = None) -> None:
    """A cookie that no script reads and no other site's form sends; gone with the browser unless `seconds` is told."""
    response.set_cookie(
        cookie_name(name, settings), value, max_age=seconds, httponly=True, samesite="lax", secure=settings.secure
    )


def drop_cookie(response: Response, name: str, settings: Settings) -> None:
    """Take it back."""
    response.delete_cookie(cookie_name(name, settings), httponly=True, samesite="lax", secure=settings.secure)


def keyed(settings: Settings, purpose: str, told: str = "") -> str:
    """What only this server can know of a text: HMAC-SHA256 under its secret."""
    return hmac.new(settings.secret(), f"{purpose}:{told}".encode(), hashlib.sha256).hexdigest()


def visit(request: Request, settings: Settings) -> tuple[str, str]:
    """For a form of somebody who has no session: the cookie of their browser, and the token that belongs to it."""
    told = request.cookies.get(cookie_name(VISIT, settings), "")
    found = told if _VISIT.fullmatch(told) else secrets.token_urlsafe(32)
    return found, keyed(settings, "visit", found)


def expected(request: Request, who: Caller | None, settings: Settings) -> str | None:
    """The token that a browser has to show; None: there is none, so nothing is right."""
    if who is not None:
        return who.csrf or None
    told = request.cookies.get(cookie_name(VISIT, settings), "")
    return keyed(settings, "visit", told) if _VISIT.fullmatch(told) else None


def check_origin(request: Request, settings: Settings) -> None:
    """Raises Problem 403 where the browser says that another site asks.

    "null" is what browsers say of our own forms too, since pages have the referrer policy no-referrer.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise _refused()
    told = request.headers.getlist("origin")
    if len(told) > 1 or (told and told[0] != "null" and not _ours(told[0], request, settings)):
        raise _refused()


def check_token(shown: str | None, wanted: str | None) -> None:
    """In constant time. Raises Problem 403."""
    right = hmac.compare_digest((shown or "").encode(errors="replace"), (wanted or "").encode())
    if not wanted or not shown or not right:
        raise Problem(403, "this form is not from your present session; open the page anew and send it again")


def in_form(body: bytes) -> str | None:
    """The token of a form's fields. Raises Problem 400 for thousands of them."""
    try:
        fields = parse_qsl(body.decode("ascii", "replace"), max_num_fields=MOST_FIELDS, keep_blank_values=True)
    except ValueError:
        raise Problem(400, f"the form has over {MOST_FIELDS} fields") from None
    found = [value for name, value in fields if name == FIELD]
    return found[0] if len(found) == 1 else None


def in_first_part(start: bytes) -> str | None:
    """The token of a multipart form whose first part it is."""
    found = _FIRST.match(start)
    if found is None or f'name="{FIELD}"'.encode() not in found[2] or b"filename" in found[2].lower():
        return None
    return found[3].decode("ascii", "replace")


def _ours(origin: str, request: Request, settings: Settings) -> bool:
    told = origin.lower()
    public = urlsplit(settings.public_url)
    if settings.public_url and told == f"{public.scheme}://{public.netloc}".lower():
        return True
    found = urlsplit(told)
    return found.scheme in ("http", "https") and found.netloc == request.headers.get("host", "").lower()


def _refused() -> Problem:
    return Problem(403, "another site's page made this request; open the page here and send it again")
