# SPDX-License-Identifier: Apache-2.0
"""The guarded process as its parent sees it: started with next to nothing, drained, watched, and ended."""

import json
import os
import select
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import radproof
from radproof.core.guard_watch import Tree, room_left, room_taken
from radproof.core.guard_words import Words, stopped
from radproof.errors import BadInput

_START = (
    "import sys; sys.path.extend(p for p in [sys.argv[3]] if p not in sys.path); "
    "from radproof.core.guard_child import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)
INSIDE = "RADPROOF_GUARDED"  # says to a process that it is guarded
_PASSED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "LD_LIBRARY_PATH", "TZ")
_TICK, _SHARE, _SLOWEST = 0.03, 150, 0.25  # seconds between looks: at least, times what one costs, at most
_GRACE = 10.0  # seconds for a child to finish its batch after Ctrl-C
_RESERVE = 1 << 30  # bytes that stay free on a disk


@dataclass(frozen=True)
class Limits:
    """What a guarded child may take; None: no limit."""

    memory: int = 2_000_000_000  # bytes resident, over all its processes (main memory, not a graphics card's)
    cpu: float | None = 600.0  # seconds of processor time
    wall: float | None = 600.0  # seconds
    file_size: int = 2_000_000_000  # bytes of one file
    disk: int = 4_000_000_000  # bytes in its temporary folder
    files: int = 1024  # open at once, by one process
    processes: int = 1024  # processes and threads
    output: int = 16_384  # bytes of stdout and stderr that are kept; the rest is thrown away


@dataclass(frozen=True)
class Blame:
    """Whom an error is about, and what kind it is."""

    kind: type[BadInput]
    what: str

    def stopped(self, why: str, do: str) -> BadInput:
        """In a sentence: why, and what to do."""
        return self.kind(f"{self.what} was stopped: {why}; {do}")


class Child:
    """The process, its pipes, and the eye on it."""

    def __init__(
        self,
        job: dict[str, Any],
        home: str,
        limits: Limits,
        words: Words,
        blame: Blame,
        until: Callable[[], bool] | None = None,
    ) -> None:
        self.printed = bytearray()
        self._until = until
        self._home, self._limits, self._words, self._blame = home, limits, words, blame
        self._interrupted = False
        self._began = time.monotonic()
        self._disks = {folder: min(_RESERVE, room_left(folder) // 2) for folder in job["write"]}
        inlet, outlet = os.pipe()
        command = [sys.executable, "-I", "-B", "-c", _START, str(outlet), str(os.getpid()), str(package())]
        try:
            with tempfile.TemporaryFile() as given:
                given.write(json.dumps(job, allow_nan=False).encode())
                given.seek(0)
                self._process = subprocess.Popen(
                    command,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=(outlet,),
                    cwd=home,
                    env=_environment(home),
                    start_new_session=True,
                    bufsize=0,
                )
        except BaseException:
            os.close(inlet)
            raise
        finally:
            os.close(outlet)
        self._tree = Tree(self._process.pid)
        self._pipes = selectors.DefaultSelector()
        for stream in (inlet, _number(self._process.stdout), _number(self._process.stderr)):
            os.set_blocking(stream, False)
            self._pipes.register(stream, selectors.EVENT_READ, stream == inlet)
        self._inlet = inlet
        self._end = _end_of(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it stays alive."""
        self._tree.kill()
        self._process.wait()
        self._pipes.close()
        os.close(self._inlet)
        if self._end is not None:
            os.close(self._end)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def follow(self) -> None:
        """Drain the pipes and look at what is taken until the child has ended.

        Raises blame, KeyboardInterrupt, and Interrupted where `until` says so.
        """
        due = checked = 0.0
        while self._process.poll() is None:
            self._drain(max(0.0, due - time.monotonic()))
            if (now := time.monotonic()) < due:
                continue
            self._look()
            cost = time.monotonic() - now
            if now - checked > max(0.25, _SHARE * self._disk_cost):
                self._look_at_disk()
                checked = time.monotonic()
            due = time.monotonic() + min(max(_TICK, _SHARE * cost), _SLOWEST)
        while self._drain(0.0):
            pass

    def interrupt(self) -> None:
        """Ask the child to end, wait for it, but not for long."""
        self._words.interrupted = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGINT)
        self._interrupted = True
        self._ends = time.monotonic() + _GRACE
        with suppress(KeyboardInterrupt, _TooLong):
            self.follow()

    def check_answered(self) -> None:
        """Raises blame for a child that ended without a word."""
        if self._words.answered:
            return
        code = self._process.returncode
        if code >= 0:
            why = f"it ended its process (exit code {code}) without an answer"
        elif -code == signal.SIGXCPU:
            why = "it took more processor time than its limit"
        elif -code == signal.SIGKILL:
            why = "the system ended its process, most likely for want of memory"
        else:
            why = f"its process crashed ({_signal(-code)})"
        raise self._blame.stopped(why, "the file is damaged or hostile; use it only if you trust where it comes from")

    def _drain(self, wait: float) -> int:
        """Read what is there; returns bytes."""
        count = 0
        if not self._pipes.get_map():
            select.select([] if self._end is None else [self._end], [], [], wait)
        for key, _ in self._pipes.select(wait) if self._pipes.get_map() else ():
            try:
                piece = os.read(key.fd, 1 << 16)
            except BlockingIOError:
                continue
            count += len(piece)
            if not piece:
                self._pipes.unregister(key.fd)
            elif key.data:
                self._words.feed(piece)
            else:
                self.printed += piece[: max(0, self._limits.output - len(self.printed))]
        return count

    _disk_cost = 0.0
    _ends = 0.0

    def _look(self) -> None:
        if self._until is not None and self._until():
            raise stopped()
        limits, taken = self._limits, self._tree.look()
        took = time.monotonic() - self._began
        if self._interrupted and time.monotonic() > self._ends:
            raise _TooLong
        if taken.memory > limits.memory and (memory := min(taken.memory, self._tree.shared_once())) > limits.memory:
            raise self._over("memory", f"{memory / 1e9:.2f} GB", f"{limits.memory / 1e9:.2f} GB")
        if limits.cpu is not None and taken.cpu > limits.cpu:
            raise self._over("processor time", f"{taken.cpu:.1f} seconds", f"{limits.cpu:g} seconds")
        if limits.wall is not None and took > limits.wall:
            raise self._over("time", f"{took:.1f} seconds", f"{limits.wall:g} seconds")
        if taken.tasks > limits.processes:
            raise self._over("processes and threads", str(taken.tasks), str(limits.processes))

    def _look_at_disk(self) -> None:
        began = time.monotonic()
        taken = room_taken(self._home)
        if taken > self._limits.disk:
            raise self._over("disk", f"{taken / 1e9:.2f} GB", f"{self._limits.disk / 1e9:.2f} GB")
        for folder, reserve in self._disks.items():
            if room_left(folder) < reserve:
                raise self._blame.stopped(f"the disk of {folder} is nearly full", "free some space and try again")
        self._disk_cost = time.monotonic() - began

    def _over(self, name: str, took: str, limit: str) -> BadInput:
        return self._blame.stopped(
            f"it took {took} of {name}, over its limit of {limit}",
            "raise the limit if it is meant to need that much, or use it only if you trust where it comes from",
        )


class _TooLong(Exception):
    """A child that was asked to end did not."""


def _end_of(number: int) -> int | None:
    """A stream that can be waited on for a process's end, where the system has one."""
    return os.pidfd_open(number) if hasattr(os, "pidfd_open") else None


def _number(stream: Any) -> int:
    return stream.fileno()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def package() -> Path:
    """Where radproof is imported from, installed or not."""
    return Path(radproof.__file__).resolve().parents[1]


def _environment(home: str) -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    folders = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
    folders += ("TORCH_HOME", "HF_HOME", "KERAS_HOME", "MPLCONFIGDIR")
    return {
        **passed,
        **dict.fromkeys(folders, home),
        "PATH": "",
        "LANG": "C.UTF-8",
        "USER": "radproof",
        "LOGNAME": "radproof",
        "KERAS_BACKEND": "torch",
        "CUDA_MODULE_LOADING": "LAZY",
        INSIDE: "1",
    }
