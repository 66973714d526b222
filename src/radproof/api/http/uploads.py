# SPDX-License-Identifier: Apache-2.0
"""Forms with files, taken apart while they come: nothing is larger, slower or more than it may be.

The name that a file had elsewhere is not kept, shown or written down: what it is, its first bytes say.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from radproof.api.http.contents import Check, data_suffix, model_suffix, text_suffix
from radproof.api.http.multipart import Taker
from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller, Developer
from radproof.api.service import Here, Service
from radproof.store.incoming import Staged
from radproof.store.settings import MEGABYTE

TEXT = 64 * MEGABYTE  # bytes of a table of labels
CARD = MEGABYTE  # of a card
SLACK = MEGABYTE // 4  # of a form, beside what its parts hold
_PIECE = MEGABYTE // 2  # bytes that are taken apart at a time


@dataclass(frozen=True)
class Wanted:
    """What a form may hold: files by their name, each with how it must begin and how large it may be; short texts."""

    files: Mapping[str, tuple[Check, int | None]]  # None: settings.upload_megabytes
    fields: Mapping[str, int]  # most characters of each
    need: str = "file"  # the file that must be there; "": none


@dataclass(frozen=True)
class Pace:
    """How slow a sender may be."""

    idle: float = 30.0  # seconds without a byte
    grace: float = 60.0  # seconds before the rate counts
    rate: float = 16_384.0  # bytes a second, over all


@dataclass
class Received:
    """A form that came whole. Its files are gone when the request ends, unless Files.keep was given them."""

    project: str
    fields: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, Staged] = field(default_factory=dict[str, Staged])

    @property
    def file(self) -> Staged:
        """The one that must be there."""
        return self.files["file"]

    @property
    def told(self) -> dict[str, str]:
        """What was said beside the files, without what is not about them."""
        return {name: text for name, text in self.fields.items() if name not in ("csrf_token", "project") and text}

    @property
    def asked(self) -> dict[str, object]:
        """What makes two such requests the same one."""
        hashes = {name: file.sha256 for name, file in sorted(self.files.items())}
        return {"project": self.project, "told": self.told, "files": hashes}


COMMON = {"csrf_token": 200, "project": 40, "name": 120}
MODEL = Wanted({"file": (model_suffix, None), "card": (text_suffix, CARD)}, {**COMMON, "architecture": 100})
DATA = Wanted(
    {"file": (data_suffix, None), "labels": (text_suffix, TEXT)},
    {**COMMON, "classes": 4000, "multi_label": 5, "label_tag": 60, "strict": 5},
)
MODEL_AGAIN = Wanted({"card": MODEL.files["card"]}, {"csrf_token": 200, "architecture": 100}, need="")
DATA_AGAIN = Wanted(
    {"labels": DATA.files["labels"]},
    {"csrf_token": 200, "classes": 4000, "multi_label": 5, "label_tag": 60, "strict": 5},
    need="",
)


@asynccontextmanager
async def received(
    request: Request,
    service: Service,
    who: Caller,
    wanted: Wanted,
    pace: Pace | None = None,
    taken: type[Taker] = Taker,
) -> AsyncGenerator[Received]:
    """Take a form apart. Raises Problem 400, 403, 408, 413, 415 or 422, TooLarge or StorageFull; nothing is left then.

    A browser's form tells its csrf_token by header, or before any file; `project` stands before the files too.
    """
    boundary = _boundary(request)
    most = service.settings.upload_megabytes * MEGABYTE
    whole = sum(most if size is None else size for _, size in wanted.files.values()) + SLACK
    _declared(request, whole)
    with ExitStack() as stack:
        taker = taken(boundary, service, who, wanted.files, wanted.fields, most, stack, told=_by_header(request, who))
        try:
            async for piece in _pieces(request, whole, pace or Pace()):
                await run_in_threadpool(taker.feed, piece)
            form = await run_in_threadpool(taker.end)
        except FormParserError:
            raise Problem(400, "the form is no whole multipart/form-data") from None
        except ClientDisconnect:
            raise Problem(400, "the connection was closed before all of the form had come") from None
        if wanted.need and wanted.need not in form[2]:
            raise Problem(422, f"the form has no {wanted.need}; expected a part of that name with the file's bytes")
        yield Received(*form)


async def model_form(request: Request, here: Here, who: Developer) -> AsyncIterator[Received]:
    """As a dependency: the form that brings a model."""
    async with received(request, here, who, MODEL) as form:
        yield form


async def data_form(request: Request, here: Here, who: Developer) -> AsyncIterator[Received]:
    """As a dependency: the form that brings images."""
    async with received(request, here, who, DATA) as form:
        yield form


async def model_again(request: Request, here: Here, who: Developer) -> AsyncIterator[Received]:
    """As a dependency: the form that tries a model's import again."""
    async with received(request, here, who, MODEL_AGAIN) as form:
        yield form


async def data_again(request: Request, here: Here, who: Developer) -> AsyncIterator[Received]:
    """As a dependency: the form that tries the import of images again."""
    async with received(request, here, who, DATA_AGAIN) as form:
        yield form


ModelForm = Annotated[Received, Depends(model_form)]
DataForm = Annotated[Received, Depends(data_form)]
ModelAgain = Annotated[Received, Depends(model_again)]
DataAgain = Annotated[Received, Depends(data_again)]


async def _pieces(request: Request, whole: int, pace: Pace) -> AsyncIterator[bytes]:
    """The body in pieces of some size. Raises Problem 408 and 413."""
    stream, began = request.stream(), time.monotonic()
    total, kept = 0, bytearray()
    while True:
        try:
            piece = await asyncio.wait_for(anext(stream, None), pace.idle)
        except TimeoutError:
            raise _slow() from None
        if piece is None:
            break
        total += len(piece)
        if total > whole:
            raise _large(whole)
        if time.monotonic() - began > pace.grace + total / pace.rate:
            raise _slow()
        kept += piece
        if len(kept) >= _PIECE:
            yield bytes(kept)
            kept.clear()
    yield bytes(kept)


def _boundary(request: Request) -> bytes:
    kind, told = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise Problem(415, "files come as multipart/form-data")
    boundary = told.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:
        raise Problem(400, "the form has no boundary; say multipart/form-data; boundary=…")
    return boundary


def _declared(request: Request, whole: int) -> None:
    """A Content-Length is believed where it says too much; what it says too little, the bytes tell."""
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and len(told) < 20 and int(told) > whole:
        raise _large(whole)


def _by_header(request: Request, who: Caller) -> bool:
    """Whether CSRF is answered for: by a header that other sites cannot send, or as no browser's session asks."""
    token = request.headers.get("x-csrf-token", "")
    return who.session is None or (bool(who.csrf) and hmac.compare_digest(token.encode(), who.csrf.encode()))


def _slow() -> Problem:
    return Problem(408, "the form came too slowly; send it again over a faster connection")


def _large(whole: int) -> Problem:
    return Problem(413, f"the form is larger than {whole // MEGABYTE:,} MB, which is what one may hold here")
