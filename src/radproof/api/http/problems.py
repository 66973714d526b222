# SPDX-License-Identifier: Apache-2.0
"""Errors as RFC 9457 problem details for programs, and as a page for people; never a traceback, never a path."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from radproof.errors import RadproofError

MEDIA = "application/problem+json"
TITLES = {
    400: "Bad request", 401: "Not signed in", 403: "Not allowed", 404: "Not found", 405: "Method not allowed",
    408: "Too slow", 409: "Conflict", 412: "Changed meanwhile", 413: "Too large", 414: "Address too long",
    415: "Unsupported media type", 421: "Misdirected request", 422: "Cannot be used", 428: "Condition required",
    429: "Too many requests", 500: "Internal error", 503: "Not ready", 507: "No room left",
}  # fmt: skip


BROKEN = "something inside went wrong; the server's log has the request's number"


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])  # where each wrong field is, and why


class Problem(Exception):
    """An answer other than success."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        errors: Sequence[dict[str, Any]] = (),
        links: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`links`: where to go on from here, each an address of this site and its words."""
        super().__init__(detail)
        self.status, self.detail, self.headers, self.errors = status, detail, headers or {}, list(errors)
        self.links = tuple(links)
        if links:
            self.headers["Link"] = ", ".join(f'<{address}>; rel="related"; title="{words}"' for address, words in links)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's `responses=` says of its problems, for OpenAPI."""
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Answer every error so."""
    app.add_exception_handler(Problem, _problem)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(RadproofError, _known)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(RequestValidationError, _invalid)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(HTTPException, _http)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(Exception, _unknown)


def answer(request: Request, problem: Problem) -> Response:
    """Problem details under /api/, a page elsewhere."""
    title = TITLES.get(problem.status, "Error")
    if not request.url.path.startswith("/api/"):
        from radproof.api.http.render import page

        found = page(
            request,
            "problem",
            status=problem.status,
            title=title,
            detail=problem.detail,
            errors=problem.errors,
            links=problem.links,
            number=getattr(request.state, "request", "") if problem.status == 500 else "",
        )
        found.headers.update(problem.headers)
        return found
    told = ProblemDetails(title=title, status=problem.status, detail=problem.detail, errors=problem.errors)
    return JSONResponse(told.model_dump(), problem.status, {**problem.headers}, media_type=MEDIA)


async def _problem(request: Request, error: Problem) -> Response:
    return answer(request, error)


async def _known(request: Request, error: RadproofError) -> Response:
    return answer(request, Problem(error.http_status if error.http_status != 499 else 409, str(error)))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    found = [{"at": ".".join(map(str, one["loc"])), "message": str(one["msg"])} for one in error.errors()]
    first = found[0] if found else {"at": "the request", "message": "cannot be read"}
    return answer(request, Problem(422, f"{first['at']}: {first['message']}", errors=found))


async def _http(request: Request, error: HTTPException) -> Response:
    detail = "no such page or method here" if error.status_code in (404, 405) else str(error.detail)
    return answer(request, Problem(error.status_code, detail, headers=dict(error.headers or {})))


async def _unknown(request: Request, error: Exception) -> Response:
    return answer(request, Problem(500, BROKEN))
