# SPDX-License-Identifier: Apache-2.0
"""What a tree of processes takes, as /proc tells it: memory, processor time, processes; and an end to all of it."""

import os
import shutil
import signal
import stat
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PAGE, _TICK = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_TRIES = 500
_LONG = 700  # characters of a path; systems take 1024 or more


@dataclass(frozen=True)
class Taken:
    """By a whole tree at one moment."""

    memory: int = 0  # bytes resident, of all but the root
    cpu: float = 0.0  # seconds, with those of processes that have ended
    tasks: int = 0  # processes and threads


@dataclass(frozen=True)
class _Process:
    parent: int
    cpu: float
    tasks: int
    born: int  # with its number, tells a process from a later one
    memory: int


class Tree:
    """All descendants of a process, and itself."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._seen: dict[int, int] = {}

    def look(self) -> Taken:
        """Nothing where /proc tells nothing."""
        found = {number: process for number in _descendants(self.root) if (process := _process(number))}
        self._seen.update((number, process.born) for number, process in found.items())
        if len(self._seen) > 4 * len(found) + 64:
            self._seen = {number: process.born for number, process in found.items()}
        workers = [number for number in found if number != self.root]
        return Taken(
            sum(found[number].memory for number in workers),
            sum(process.cpu for process in found.values()),
            sum(process.tasks for process in found.values()),
        )

    def shared_once(self) -> int:
        """Bytes resident, where pages shared by several processes count once; dearer to ask for."""
        return sum(_proportional(number) for number in _descendants(self.root) if number != self.root)

    def kill_below(self) -> None:
        """Everything but the root, whose children orphans become."""
        for _ in range(_TRIES):
            numbers = [number for number in _descendants(self.root) if number != self.root and not _dead(number)]
            if not numbers:
                break
            for number in numbers:
                _kill(number)

    def kill(self) -> None:
        """Everything, the root last."""
        self.kill_below()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.root, signal.SIGKILL)
        for number, born in self._seen.items():
            process = _process(number)
            if number != self.root and process and process.born == born:
                _kill(number)


def _descendants(root: int) -> Generator[int]:
    """Numbers, parents first."""
    waiting = [root]
    while waiting:
        number = waiting.pop()
        yield number
        waiting += _children(number)


def _children(number: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{number}/task"):
            with suppress(OSError):
                found += map(int, _read(f"/proc/{number}/task/{thread}/children").split())
    return found


def _process(number: int) -> _Process | None:
    try:
        fields = _read(f"/proc/{number}/stat").rpartition(b")")[2].split()
    except OSError:
        return None
    cpu = sum(map(int, fields[11:15])) / _TICK
    return _Process(int(fields[1]), cpu, int(fields[17]), int(fields[19]), int(fields[21]) * _PAGE)


def _dead(number: int) -> bool:
    try:
        return _read(f"/proc/{number}/stat").rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _proportional(number: int) -> int:
    try:
        for line in _read(f"/proc/{number}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    process = _process(number)
    return process.memory if process else 0


def _kill(number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(number, signal.SIGKILL)


def _read(path: str) -> bytes:
    stream = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces: list[bytes] = []
        while piece := os.read(stream, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(stream)


def room_taken(folder: str) -> int:
    """Bytes on disk below a folder."""
    total, waiting = 0, [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_blocks * 512
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
    return total


def room_left(folder: str) -> int:
    """Bytes free on a folder's disk."""
    return shutil.disk_usage(folder).free


def remove(folder: str) -> None:
    """A folder that a stranger filled: whatever its rights and however deep."""
    emptied: list[str] = []
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        emptied.append(here)
        with suppress(OSError):
            os.chmod(here, 0o700)
            for entry in list(os.scandir(here)):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                waiting.append(entry.path)
                if len(entry.path) > _LONG:
                    os.chmod(entry.path, 0o700)
                    waiting[-1] = os.path.join(folder, f".removed-{len(emptied)}-{len(waiting)}")
                    os.rename(entry.path, waiting[-1])
    for here in reversed(emptied):
        with suppress(OSError):
            os.rmdir(here)
