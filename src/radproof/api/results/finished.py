# SPDX-License-Identifier: Apache-2.0
"""The folder of a finished run as the server reads it: without torch, once, and never with a path of the server."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radproof.api.http.problems import Problem
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.store.ids import PATTERN
from radproof.store.settings import Settings
from radproof.store.tables import Run

RESULT, ROWS = "result.json", "rows.parquet"
MOST = 512 * 2**20  # bytes of a file that is read whole
_OURS = re.compile(rf"(?:models|data|runs|guards|plans|uploads)/{PATTERN}")
_ENDS = frozenset("\"'<>()[]{},;=` \t\r\n")
_FARTHEST = 4096  # characters of a path


@dataclass(frozen=True)
class Stamp:
    """A file as it is now: what a cache is asked by."""

    path: Path
    changed: int
    size: int


PARSED = 4  # bytes of JSON values in memory for one of their file, about
_VALUES: BoundedCache[tuple[dict[str, Any], int]] = BoundedCache(16, 64 * MEBIBYTE, lambda one: one[1])
_TEXTS: BoundedCache[str] = BoundedCache(16, 32 * MEBIBYTE, len)


def folder(settings: Settings, run: Run) -> Path:
    """Where a run lies."""
    return settings.folder("runs", run.id)


def stamp(path: Path) -> Stamp | None:
    """Of a plain file; None where there is none, or a link."""
    try:
        if path.is_symlink():
            return None
        found = path.stat()
    except OSError:
        return None
    return Stamp(path, found.st_mtime_ns, found.st_size) if found.st_size <= MOST and path.is_file() else None


def finished(settings: Settings, run: Run, name: str = RESULT) -> Stamp:
    """A file that a finished run leaves. Raises Problem 404 saying in which state the run is."""
    found = stamp(folder(settings, run) / name) if stamp(folder(settings, run) / RESULT) else None
    if found is None:
        raise Problem(404, f"this run has no result: its state is {run.state}")
    return found


def result_json(settings: Settings, run: Run) -> dict[str, Any]:
    """result.json as JSON values, to be read only; paths are relative to the server's home. Raises Problem 404."""
    file, home = finished(settings, run), settings.home.resolve()
    return _VALUES.get((file, home), lambda: (json.loads(scrubbed_file(file, home)), PARSED * file.size))[0]


def result_text(settings: Settings, run: Run) -> str:
    """The same as text."""
    return scrubbed_file(finished(settings, run), settings.home.resolve())


def scrubbed_file(file: Stamp, home: Path) -> str:
    """A text file without the server's paths."""
    return _TEXTS.get((file, home), lambda: scrubbed(file.path.read_text(encoding="utf-8"), home))


def scrubbed(text: str, home: Path) -> str:
    """Without paths: /srv/home/models/mdl_… becomes models/mdl_…, also where a worker's home has another name.

    In time that grows with the text's length alone.
    """
    text = text.replace(f"{home}/", "")
    parts: list[str] = []
    last = 0
    for found in _OURS.finditer(text):
        start = found.start()
        least = max(last, start - _FARTHEST)
        while start > least and text[start - 1] not in _ENDS:
            start -= 1
        if start < found.start() and text[start] == "/":
            parts.append(text[last:start])
            last = found.start()
    return "".join((*parts, text[last:]))
