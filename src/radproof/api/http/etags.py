# SPDX-License-Identifier: Apache-2.0
"""Strong entity tags: an answer that is still the same is not sent again, a change of what has changed is refused."""

import hashlib
import re
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel

from radproof.api.http.problems import Problem
from radproof.core.records import canonical_json

_ONE = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,100}"')
_LONGEST = 4096  # characters of a condition that are read
PRIVATE = "private, no-cache"  # kept by the caller alone, and asked for each time


def etag(value: Any) -> str:
    """The tag of a model, of JSON values or of bytes."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    found = value if isinstance(value, bytes) else canonical_json(value).encode()
    return f'"{hashlib.sha256(found).hexdigest()[:32]}"'


def conditional(
    request: Request, value: BaseModel, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A model as JSON with its tag; 304 without it where the caller already has it (If-None-Match)."""
    return conditional_bytes(
        request, value.model_dump_json().encode(), "application/json", etag(value), headers=headers, status=status
    )


def conditional_bytes(
    request: Request,
    content: bytes,
    media: str,
    tag: str | None = None,
    *,
    headers: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Bytes with their tag; 304 without them where the caller already has them."""
    tag = tag or etag(content)
    told = {"ETag": tag, "Cache-Control": PRIVATE, **(headers or {})}
    if fresh(request, tag):
        return Response(None, 304, told)
    return Response(content, status, told, media)


def fresh(request: Request, tag: str) -> bool:
    """Whether If-None-Match names this tag (weak comparison, RFC 9110 §13.1.2)."""
    named = _named(request.headers.getlist("if-none-match"))
    return "*" in named or tag in {one.removeprefix("W/") for one in named}


def unchanged(request: Request, value: Any) -> None:
    """For PATCH and DELETE: raises Problem 412 where If-Match names other states than this one (strong comparison)."""
    told = request.headers.getlist("if-match")
    if not told:
        return
    named = _named(told)
    if "*" not in named and etag(value) not in named:
        raise Problem(412, "it has changed since you read it; read it again, then change it")


def _named(headers: list[str]) -> set[str]:
    told = ",".join(headers)[:_LONGEST]
    return {"*"} if told.strip() == "*" else {one.group(0) for one in _ONE.finditer(told)}
