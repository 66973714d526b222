# SPDX-License-Identifier: Apache-2.0
"""A command that a worker runs: progress and errors are JSON lines on stderr, and it does not outlive the worker."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from radproof.core.progress import told
from radproof.core.whole import Stage

SUPERVISED = "RADPROOF_SUPERVISED"
_OFTEN = 0.25  # seconds between lines of one stage
_LONG = 2000  # characters of a text
LOST = 143  # exit code of a command whose worker is gone


def supervised() -> bool:
    """Whether a worker reads what is said here."""
    return os.environ.get(SUPERVISED) == "1"


def end_with_worker() -> None:
    """From now on this process ends, at once, when its stdin does: the worker holds the other end.

    SIGINT asks it to finish its batch, also where a shell had it ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    inlet = os.dup(0)
    os.set_inheritable(inlet, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # children of ours do not hold it
    os.close(nothing)
    threading.Thread(target=_watch, args=(inlet,), name="end with the worker", daemon=True).start()


def say(**told: Any) -> None:
    """One JSON line; nothing where nobody listens any more."""
    try:
        os.write(2, (json.dumps(told, allow_nan=False) + "\n").encode())
    except OSError:
        return


class Told:
    """A Progress in JSON lines."""

    def __init__(self) -> None:
        self._stages: dict[str, tuple[float, float, float]] = {}  # done, total, when last told

    def start(self, stage: str, total: float) -> None:
        """Begin a stage of `total` units."""
        self._tell(stage, 0.0, max(float(total), 1e-9))

    def advance(self, stage: str, amount: float = 1.0) -> None:
        """So much of the stage is done; nothing of one that was never begun."""
        if stage not in self._stages:
            return
        done, total, last = self._stages[stage]
        done = min(done + amount, total)
        if done >= total or time.monotonic() - last >= _OFTEN:
            self._tell(stage, done, total)
        else:
            self._stages[stage] = (done, total, last)

    def expect(self, stages: Sequence[Stage]) -> None:
        """What is to come."""
        say(expect=told(stages))

    def note(self, message: str) -> None:
        """One line for the user."""
        say(note=message[:_LONG])

    def _tell(self, stage: str, done: float, total: float) -> None:
        self._stages[stage] = (done, total, time.monotonic())
        say(stage=stage[:200], done=round(done, 3), total=round(total, 3))


def fail(message: str, code: int) -> None:
    """The last line."""
    sys.stderr.flush()
    say(error=message[:_LONG], code=code)


def _watch(inlet: int) -> None:
    while True:
        try:
            if not os.read(inlet, 4096):
                break
        except InterruptedError:
            continue
        except OSError:
            break
    os._exit(LOST)
