# SPDX-License-Identifier: Apache-2.0
"""Pages from templates: escaped by default, no inline script or style, every file of /static by its hash."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy import select

from radproof import __version__
from radproof.api.http.said import said
from radproof.store.tables import Project, Role

if TYPE_CHECKING:
    from radproof.api.people.access import Caller

NAVIGATION: tuple[tuple[Role, str, str], ...] = (
    ("viewer", "/models", "Models"),
    ("viewer", "/data", "Data"),
    ("developer", "/assess", "Assess"),
    ("viewer", "/runs", "Runs"),
    ("clinician", "/screen", "Screen"),
    ("viewer", "/readers", "Reader tests"),
    ("admin", "/admin", "Admin"),
)


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
    names = cast("dict[str, Any]", made.globals)
    names.update(static=static_url, version=__version__, duration=duration)
    made.filters.update(figure=figure, capitalised=capitalised)
    return made


def figure(value: float, unit: str = "share") -> str:
    """A number as it stands on a page: shares from 0 to 1 with two decimals, budgets as n/255."""
    if unit == "share":
        return f"{value:.2f}"
    if unit == "budget":
        return f"{value * 255:.3g}/255"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """As people say it: "40 s", "3 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def capitalised(text: str) -> str:
    """A sentence with its first letter large; the rest stays as it is."""
    return text[:1].upper() + text[1:]


@cache
def static_bytes(name: str) -> bytes:
    """A file of /static; names are those that templates use, never a request's."""
    return (files("radproof.api") / "static" / name).read_bytes()


@cache
def static_url(name: str) -> str:
    """/static/HASH/NAME: a changed file has another address, so that it may be kept for ever."""
    return f"/static/{hashlib.sha256(static_bytes(name)).hexdigest()[:16]}/{name}"


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """templates/NAME.html.j2 with `caller` (or None), `csrf`, `path`, what the header shows, and these values."""
    who: Caller | None = getattr(request.state, "caller", None)
    told: dict[str, Any] = {"request": request, "caller": who, "csrf": who.csrf if who else "", "status": status}
    told |= {"title": "radproof", "path": request.url.path, "told_above": said(request.query_params.get("said"))}
    told |= {**_header(request, who), **values}
    return HTMLResponse(environment().get_template(f"{name}.html.j2").render(told), status)


def by_script(request: Request) -> bool:
    """Whether htmx asks, for a part of the page."""
    return request.headers.get("HX-Request") == "true"


def fragment(name: str, **values: Any) -> HTMLResponse:
    """A piece of a page, for htmx."""
    return HTMLResponse(environment().get_template(f"{name}.html.j2").render(values))


def _header(request: Request, who: "Caller | None") -> dict[str, Any]:
    """Where this person may go, and their projects by name."""
    if who is None:
        return {"navigation": [], "projects": [], "project_name": ""}
    with request.app.state.service.database.reading() as session:
        asked = select(Project.id, Project.name).where(Project.id.in_(who.projects)).order_by(Project.name)
        projects = list(session.execute(asked).all())
    named = next((one.name for one in projects if one.id == who.project_id), "")
    navigation = [(address, text) for role, address, text in NAVIGATION if who.may(role)]
    return {"navigation": navigation, "projects": projects, "project_name": named}
