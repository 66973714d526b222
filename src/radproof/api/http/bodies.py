# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests before anybody reads them: small ones are taken whole and looked at, uploads flow on."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from radproof.api.http.problems import Problem
from radproof.api.http.wanted import takes_files

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MOST = 10**6  # bytes of a body that is no upload
PEEK = 16_384  # bytes within which a multipart form's first part ends
DEEPEST = 32  # lists and objects within each other
# Each of these reads a body once, whatever stands in it: what was taken is not given back (`++`, `*+`), a text that
# does not end goes to the end of the body, and a run of digits or backslashes is looked at from its start alone.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NUMBER = re.compile(rb"NaN|Infinity|[eE]\+?0*+[1-9]\d{2}|(?<!\d)\d{300}")
_PLAIN = re.compile(rb"[^][{}]++")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


def is_upload(request: Request) -> bool:
    """Whether files may come in this form; the route limits them while they come."""
    return media(request) == "multipart/form-data" and takes_files(request.url.path)


def media(request: Request) -> str:
    """The type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_declared(request: Request) -> None:
    """What the headers say of the body. Raises Problem 400, 413 or 415."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "bodies are taken as they are, not compressed")
    told = request.headers.get("content-length")
    if told is not None and not (told.isascii() and told.isdigit() and len(told) < 20):
        raise Problem(400, "Content-Length: expected a whole number")
    if told is not None and not is_upload(request) and int(told) > MOST:
        raise _too_large()


def is_json(request: Request) -> bool:
    """Whether a route reads this body as JSON: pages read forms alone."""
    return request.url.path.startswith("/api/") and media(request).endswith("json")


async def whole(receive: Receive) -> bytes:
    """A small body. Raises Problem 413, ClientDisconnect."""
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        found += message.get("body", b"")
        if len(found) > MOST:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(found)


async def beginning(receive: Receive) -> list[Message]:
    """The first messages of a large body: as many as hold its first part. Raises ClientDisconnect."""
    found: list[Message] = []
    size = 0
    while size < PEEK:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        found.append(message)
        size += len(message.get("body", b""))
        if not message.get("more_body", False) or b"".join(one.get("body", b"") for one in found).count(b"\r\n--"):
            break
    return found


def again(messages: list[Message], receive: Receive) -> Receive:
    """What was read already, then the rest."""
    waiting = list(reversed(messages))

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def check_json(body: bytes) -> None:
    """What a JSON reader would take and nobody means. Raises Problem 400: too deep, not a number, a NUL."""
    if _NUL.search(body):
        raise Problem(400, "the JSON holds the character NUL")
    bare = _TEXT.sub(b'""', body)
    if _NUMBER.search(bare):
        raise Problem(400, "the JSON holds NaN, Infinity or a number too large; expected finite numbers")
    depth = 0
    for one in _PLAIN.sub(b"", bare):
        depth += 1 if one in b"[{" else -1
        if depth > DEEPEST:
            raise Problem(400, f"the JSON goes deeper than {DEEPEST} lists and objects")


def _too_large() -> Problem:
    return Problem(413, f"the body is larger than {MOST // 10**6} MB; only the routes for uploads take more")
