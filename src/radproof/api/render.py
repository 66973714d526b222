# SPDX-License-Identifier: Apache-2.0
"""Pages from templates: escaped by default, no inline script or style, every file of /static by its hash."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from radproof import __version__


@cache
def environment() -> Environment:
    """Of all templates."""
    made = Environment(
        loader=PackageLoader("radproof.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(static=static_url, version=__version__)
    return made


@cache
def static_bytes(name: str) -> bytes:
    """A file of /static; names are those that templates use, never a request's."""
    return (files("radproof.api") / "static" / name).read_bytes()


@cache
def static_url(name: str) -> str:
    """/static/HASH/NAME: a changed file has another address, so that it may be kept for ever."""
    return f"/static/{hashlib.sha256(static_bytes(name)).hexdigest()[:16]}/{name}"


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """templates/NAME.html.j2 with `caller` (or None), `csrf`, `path` and these values."""
    who = getattr(request.state, "caller", None)
    told = {"request": request, "caller": who, "csrf": who.csrf if who else "", "path": request.url.path, **values}
    told.setdefault("title", "radproof")
    return HTMLResponse(environment().get_template(f"{name}.html.j2").render(told), status)
