# SPDX-License-Identifier: Apache-2.0
"""Inside the guarded process: shut every door, then import one function, call it and tell its answer.

Only the standard library is imported before the doors are shut. On Linux a first process only waits, so that orphans
have a parent; its child, number one among the process numbers of its own, does the work.
"""

import importlib
import inspect
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

from radproof import errors
from radproof.core.guard_doors import missing, shut, unshare
from radproof.core.guard_watch import Tree

_PAUSE = 0.05  # seconds between two messages of steps done


class Reporter:
    """A Progress that tells the parent; steps done within a moment are told as one."""

    def __init__(self, stream: int) -> None:
        self._stream, self._lock = stream, threading.RLock()
        self._steps: dict[str, float] = {}
        self._told = 0.0

    def start(self, stage: str, total: float) -> None:
        """A stage and its size."""
        self._flush()
        self.tell("start", [str(stage), float(total)])

    def advance(self, stage: str, amount: float = 1.0) -> None:
        """Units done."""
        with self._lock:
            self._steps[str(stage)] = self._steps.get(str(stage), 0.0) + float(amount)
        if time.monotonic() - self._told > _PAUSE:
            self._flush()

    def expect(self, stages: Any) -> None:
        """What is to come."""
        from radproof.core.progress import told

        self._flush()
        self.tell("expect", told(stages))

    def note(self, message: str) -> None:
        """Words for people."""
        self._flush()
        self.tell("note", str(message))

    def tell(self, kind: str, value: Any) -> None:
        """One line of strict JSON. Raises TypeError, ValueError or RecursionError for what is not."""
        line = json.dumps({kind: value}, allow_nan=False).encode() + b"\n"
        with self._lock:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._stream, rest) :]

    def answer(self, value: Any) -> None:
        """The value, after all steps."""
        self._flush()
        self.tell("value", value)

    def _flush(self) -> None:
        with self._lock:
            steps, self._steps, self._told = self._steps, {}, time.monotonic()
        for stage, amount in steps.items():
            self.tell("advance", [stage, amount])


def main(stream: int, parent: int) -> NoReturn:
    """Read the job from stdin, do it, and end."""
    job: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.umask(0o077)
    reporter = Reporter(stream)
    reached: set[str] = set()
    if sys.platform == "linux" and "linux" not in job["without"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        reached = unshare(job, parent)
        worker = os.fork()
        if worker:
            os.close(stream)
            _wait(worker)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _work(job, reached, reporter)
    for printed in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            printed.flush()
    os._exit(0)


def nothing() -> None:
    """For trying the guard."""


def _wait(worker: int) -> NoReturn:
    """Bury orphans until the worker ends, end those that it left, and end as it did."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == worker:
            break
    Tree(os.getpid()).kill_below()
    if os.WIFSIGNALED(status):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def _work(job: dict[str, Any], reached: set[str], reporter: Reporter) -> None:
    try:
        level = shut(job, reached)
        reporter.tell("level", list(level))
        _refuse(job, level)
        function = _function(job["task"], job["paths"])
        given: dict[str, Any] = job["arguments"]
        if "progress" in inspect.signature(function).parameters:
            given = {**given, "progress": reporter}
        reporter.answer(function(**given))
    except errors.RadproofError as error:
        reporter.tell("error", [_known(error), str(error)])
    except KeyboardInterrupt:
        reporter.tell("error", ["Interrupted", "stopped by the user"])
    except BaseException as error:
        reporter.tell("broken", _told(error))


def _refuse(job: dict[str, Any], level: tuple[str, ...]) -> None:
    still_open = missing(level)
    if job["strict"] and still_open:
        raise errors.BadInput(
            f"the strict guard was asked for, and {' and '.join(still_open)} cannot be shut off on this machine "
            f"(reached: {', '.join(level)}); run it on Linux 5.13 or later with Landlock and name spaces, or without it"
        )


def _function(task: str, paths: list[str]) -> Any:
    module, _, name = task.partition(":")
    sys.path.extend(path for path in paths if path not in sys.path)
    return getattr(importlib.import_module(module), name)


def _known(error: errors.RadproofError) -> str:
    """The name of the nearest class that the parent knows."""
    return next(kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)


def _told(error: BaseException) -> dict[str, Any]:
    """Type, message and place of an error that is not radproof's own."""
    place, step = "", error.__traceback__
    while step is not None:
        place = f"{os.path.basename(step.tb_frame.f_code.co_filename)}, line {step.tb_lineno}"
        step = step.tb_next
    line = ""
    with suppress(Exception):
        line = str(error)[:1000]
    number = error.errno if isinstance(error, OSError) else None
    return {"type": type(error).__name__, "line": line, "place": place, "errno": number}
