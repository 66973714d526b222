# SPDX-License-Identifier: Apache-2.0
"""Headers of every answer, and the Host that a request may name. There are no CORS headers: no other site may read."""

import re
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection

from radproof.core.hosts import loopback
from radproof.store.settings import Settings

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
}
UNLESS_SET = {  # a route may say otherwise: a report has its own policy, a static file may be kept
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
PASSED_ON = frozenset({"forwarded", "x-real-ip", "via"})
HSTS = "max-age=31536000"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?)(?::\d{1,5})?", re.IGNORECASE)


def set_headers(headers: MutableHeaders, settings: Settings) -> None:
    """On an answer, whatever it is."""
    for name, value in ALWAYS.items():
        headers[name] = value
    for name, value in UNLESS_SET.items():
        headers.setdefault(name, value)
    if settings.secure:
        headers["Strict-Transport-Security"] = HSTS
    for name in [name for name in headers if name.lower().startswith("access-control-")]:
        del headers[name]


def host_of(told: str) -> str | None:
    """The name in a Host header, in lower case and without port; None where it is none."""
    found = _HOST.fullmatch(told)
    return found[1].lower().rstrip(".") if found else None


def allowed(host: str, settings: Settings) -> bool:
    """Whether the server goes by this name. Others are refused: a page elsewhere could make its own name lead here."""
    if loopback(host):
        return True
    known = [urlsplit(settings.public_url).hostname or "", *settings.allowed_hosts]
    if settings.host not in ("0.0.0.0", "::", ""):
        known.append(f"[{settings.host}]" if ":" in settings.host else settings.host)
    return host.strip("[]") in {one.lower().strip("[]") for one in known if one}


def passed_on(request: HTTPConnection) -> bool:
    """Whether a proxy says that it asks for somebody else."""
    return any(name in PASSED_ON or name.startswith("x-forwarded-") for name in request.headers)
