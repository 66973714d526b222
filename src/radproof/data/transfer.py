# SPDX-License-Identifier: Apache-2.0
"""One file over HTTP, in as many attempts as it takes: what has come stays in NAME.part and is gone on from.

The server is not trusted: redirects stay on known hosts, and lengths, ranges, kinds of content and sums are checked.
"""

import hashlib
import http.client
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from radproof.core.progress import SILENT, Progress
from radproof.errors import BadData, BadInput, StorageFull

ATTEMPTS = 5  # in a row without a single new byte
_NOBODY = (ConnectionRefusedError, socket.gaierror)  # a name or a port that is not there: waiting rarely helps
RESERVE = 512 * 1024**2  # bytes of the disk that stay free
_PIECE = 1024**2
_OFFLINE = "check the network (or a proxy in HTTPS_PROXY), or give a mirror with --base"


@dataclass(frozen=True)
class Order:
    """A file to be fetched; `sums` are hex digests by algorithm, any of them may be missing."""

    url: str
    file: Path
    hosts: Sequence[str]  # where redirects may lead, subdomains included; the url's own host always may
    sums: tuple[tuple[str, str], ...] = ()
    most: int = 8 * 1024**3  # bytes; a longer answer is refused


def fetch(order: Order, *, progress: Progress = SILENT, timeout: float = 60.0, pause: float = 1.0) -> Path:
    """Fetch the file, or the rest of it, check it and give it its name.

    Raises BadData for answers that are not the file, BadInput where nobody answers, StorageFull.
    """
    part = order.file.with_name(f"{order.file.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    opener = urllib.request.build_opener(_Redirects(order))
    idle = 0
    told = _Told(progress, order.file.name)
    while True:
        before = _size(part)
        try:
            if _pull(order, part, opener, told, timeout):
                break
            reason, patience = "the connection was cut", ATTEMPTS
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = _reason(error, order)
            patience = 2 if isinstance(getattr(error, "reason", error), _NOBODY) else ATTEMPTS
        idle = 0 if _size(part) > before else idle + 1
        if idle >= patience:
            raise BadInput(
                f"cannot fetch {order.file.name}: {reason}; {_OFFLINE}; what has come is kept for the next run"
            )
        time.sleep(pause * min(2**idle, 30) if idle else 0)
    _check(order, part)
    os.replace(part, order.file)
    _tag(part).unlink(missing_ok=True)
    return order.file


def sums_of(file: Path, kinds: Sequence[str]) -> dict[str, str]:
    """Hex digests of a file in one pass."""
    digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            for digest in digests.values():
                digest.update(piece)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


class _Told:
    """Progress in bytes, begun when the length is known; what an earlier run has brought counts as done."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._stage, self._done, self._begun = progress, f"fetch {name}", 0, False

    def at(self, done: int, total: int) -> None:
        if not self._begun:
            self._progress.start(self._stage, max(total, 1))
            self._begun = True
        if done > self._done:
            self._progress.advance(self._stage, done - self._done)
            self._done = done


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, order: Order) -> None:
        own = urlsplit(order.url)
        self._scheme, self._own, self._hosts = own.scheme, own.netloc, tuple(order.hosts)

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        to = urlsplit(newurl)
        host = (to.hostname or "").lower()
        known = any(host == name or host.endswith(f".{name}") for name in self._hosts)
        if to.scheme != self._scheme or (to.netloc != self._own and not known):
            raise BadData(f"{self._own} sends us on to {to.scheme}://{host[:60]}, which is no home of this data set")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None:
            made.headers.update({name: value for name, value in req.headers.items() if name.lower() in _KEPT})
        return made


_KEPT = ("range", "if-range", "accept-encoding")


def _pull(order: Order, part: Path, opener: Any, told: _Told, timeout: float) -> bool:
    """One attempt; whether the file is whole."""
    have = _size(part)
    request = urllib.request.Request(order.url, headers={"Accept-Encoding": "identity", "User-Agent": "radproof"})
    tag = _tag(part).read_text() if have and _tag(part).is_file() else ""
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag:
            request.add_header("If-Range", tag)
    try:
        answer = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, part, have)
    with answer:
        _check_kind(answer, order)
        start, total = _range(answer, have)
        if start != have:
            part.unlink(missing_ok=True)
        have = start
        _check_room(order, total, have)
        _tag(part).write_text(_validator(answer))
        told.at(have, total or order.most)
        return _write(answer, part, order, have, total, told)


def _write(answer: Any, part: Path, order: Order, have: int, total: int | None, told: _Told) -> bool:
    """Append what comes; whether the file is whole then."""
    with part.open("ab") as stream:
        while True:
            try:
                piece = answer.read1(_PIECE)
            except http.client.IncompleteRead:
                return False
            if not piece:
                break
            have += len(piece)
            if have > order.most or (total is not None and have > total):
                _remove(part)
                most = min(order.most, total or order.most)
                raise BadData(f"{order.file.name} is longer than {most:,} bytes; it is another file and was removed")
            _put(stream, piece)
            told.at(have, total or order.most)
        os.fsync(stream.fileno())
    return total is None or have == total


def _put(stream: Any, piece: bytes) -> None:
    try:
        stream.write(piece)
        stream.flush()
    except OSError as error:
        raise StorageFull(
            f"the disk is full ({error.strerror}); free some space and run again: what has come is kept"
        ) from None


def _range(answer: Any, have: int) -> tuple[int, int | None]:
    """Where the answer begins, and how long the whole file is where the server says so."""
    length = answer.headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdigit() else None
    if answer.status != 206:
        return 0, size
    span, _, whole = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    if not first.isdigit() or int(first) != have:
        return _restart(have)
    return have, int(whole) if whole.isascii() and whole.isdigit() else (have + size if size is not None else None)


def _restart(have: int) -> tuple[int, int | None]:
    raise BadData(
        f"the server answers another part of the file than the one after byte {have:,}; remove the .part file"
    )


def _refused(error: urllib.error.HTTPError, part: Path, have: int) -> bool:
    """What an error code means: False to try again; True for a file that is whole already."""
    if error.code == 416 and have:
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return True
        part.unlink(missing_ok=True)
        return False
    if error.code >= 500 or error.code in (408, 425, 429):
        return False
    raise BadInput(
        f"the server answers {error.code} ({error.reason}); the file may have moved: give a mirror with --base"
    )


def _check_kind(answer: Any, order: Order) -> None:
    if "html" in answer.headers.get("Content-Type", "").lower():
        raise BadInput(f"a web page came instead of {order.file.name}: a login, a proxy or a notice; open {order.url}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise BadData(f"the server packs {order.file.name} although it was asked not to; give a mirror with --base")


def _check_room(order: Order, total: int | None, have: int) -> None:
    if total is not None and total > order.most:
        raise BadData(
            f"{order.file.name} is announced with {total:,} bytes, more than {order.most:,}; it is another file"
        )
    free = shutil.disk_usage(order.file.parent).free
    wanted = (total or have) - have + RESERVE
    if free < wanted:
        raise StorageFull(
            f"{order.file.name} needs {wanted:,} bytes on the disk and {free:,} are free; make room first"
        )


def _check(order: Order, part: Path) -> None:
    found = sums_of(part, [kind for kind, _ in order.sums])
    for kind, expected in order.sums:
        if found[kind] != expected.lower():
            _remove(part)
            raise BadData(
                f"{order.file.name} came with the {kind} {found[kind]}, expected {expected}; it was removed: run "
                "again, and if it happens again, the file at its source is another one"
            )


def _validator(answer: Any) -> str:
    """What tells this version of the file from a later one, for If-Range; weak tags will not do."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _reason(error: Exception, order: Order) -> str:
    inner = getattr(error, "reason", error)
    return f"{urlsplit(order.url).hostname} does not answer ({type(inner).__name__})"


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _remove(part: Path) -> None:
    part.unlink()
    _tag(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
