# SPDX-License-Identifier: Apache-2.0
"""Forms with files, taken apart while they come: nothing is larger or more than it may be.

The name that a file had elsewhere is not kept, shown or written down: what it is, its first bytes say.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from radproof.api.http.multipart import Place, Taker
from radproof.api.http.problems import Problem
from radproof.api.http.wanted import DATA, DATA_AGAIN, MODEL, MODEL_AGAIN, Wanted
from radproof.api.people.access import Caller, Developer, home_project
from radproof.api.service import Here, Service
from radproof.store.incoming import Incoming, Staged
from radproof.store.settings import MEGABYTE

SLACK = MEGABYTE // 4  # bytes of a form, beside what its parts hold
_PIECE = MEGABYTE // 2  # bytes that are taken apart at a time


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


@dataclass(frozen=True)
class Shelf:
    """The place of files that are kept: a project of the caller's, under its quota."""

    service: Service
    who: Caller

    @property
    def most(self) -> int:
        """Bytes of one file."""
        return self.service.settings.upload_megabytes * MEGABYTE

    def home(self, fields: Mapping[str, str]) -> str:
        """The project. Raises Problem 404, 422."""
        return home_project(self.who, fields.get("project") or None)

    def incoming(self, home: str, most: int) -> AbstractContextManager[Incoming]:
        """Where a file comes in."""
        with self.service.database.reading() as session:
            used = self.service.files.used(session, home)
        return self.service.files.incoming(most=most, project=home, used=used)


@asynccontextmanager
async def received(request: Request, wanted: Wanted, place: Place) -> AsyncGenerator[Received]:
    """Take a form apart. Raises Problem 400, 413, 415 or 422, TooLarge or StorageFull; nothing is left then.

    `project` stands before the files. CSRF was checked around the request, and so is how slowly the form comes.
    """
    boundary = _boundary(request)
    whole = sum(place.most if size is None else size for _, size in wanted.files.values()) + SLACK
    _declared(request, whole)
    with ExitStack() as stack:
        taker = Taker(boundary, wanted.files, wanted.fields, place, stack)
        try:
            async for piece in _pieces(request, whole):
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
    async with received(request, MODEL, Shelf(here, who)) as form:
        yield form


async def data_form(request: Request, here: Here, who: Developer) -> AsyncIterator[Received]:
    """As a dependency: the form that brings images."""
    async with received(request, DATA, Shelf(here, who)) as form:
        yield form


async def model_again(request: Request, here: Here, who: Developer) -> AsyncIterator[Received]:
    """As a dependency: the form that tries a model's import again."""
    async with received(request, MODEL_AGAIN, Shelf(here, who)) as form:
        yield form


async def data_again(request: Request, here: Here, who: Developer) -> AsyncIterator[Received]:
    """As a dependency: the form that tries the import of images again."""
    async with received(request, DATA_AGAIN, Shelf(here, who)) as form:
        yield form


ModelForm = Annotated[Received, Depends(model_form)]
DataForm = Annotated[Received, Depends(data_form)]
ModelAgain = Annotated[Received, Depends(model_again)]
DataAgain = Annotated[Received, Depends(data_again)]


async def _pieces(request: Request, whole: int) -> AsyncIterator[bytes]:
    """The body in pieces of some size. Raises Problem 413."""
    total, kept = 0, bytearray()
    async for piece in request.stream():
        total += len(piece)
        if total > whole:
            raise _large(whole)
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


def _large(whole: int) -> Problem:
    return Problem(413, f"the form is larger than {whole // MEGABYTE:,} MB, which is what one may hold here")
