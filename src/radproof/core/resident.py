# SPDX-License-Identifier: Apache-2.0
"""A guarded process that stays: it is asked in lines of JSON, and answers each with one. Standard library only.

It hears and speaks through two named pipes, the only things that it may write besides its own folder. It ends when
its pipe of requests ends: with a word from here, or with this process, however that ended.
"""

import json
import os
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from radproof.core.guard import Limits, guarded
from radproof.errors import RadproofError

MOST = 1 << 18  # bytes of one answer
_ENDING = 5.0  # seconds in which a process that was told to end is waited for
_LAST = 2.0  # in which one that closed its answers may say why it ended


class Silent(RadproofError):
    """No answer in time."""


class Gone(RadproofError):
    """The process ended, or answered out of turn; it has to be started anew."""


class Resident:
    """One such process. `ask` and `hear` are called by one thread at a time."""

    def __init__(
        self,
        task: str,
        arguments: Mapping[str, Any],
        folder: Path,
        *,
        read: Sequence[Path],
        limits: Limits,
        what: str = "the model file",
        paths: Sequence[Path] = (),
    ) -> None:
        """Start `task` with `arguments`, `requests` and `answers`: its pipes, which are made in `folder`."""
        asks, says = folder / "requests", folder / "answers"
        for pipe in (asks, says):
            os.mkfifo(pipe, 0o600)
        # open to read as well: so it opens at once, and its end is still that of this process
        self._asks = os.open(asks, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._says = os.open(says, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._over, over = os.pipe()
        self.error: RadproofError | None = None  # what its guard said, once it ended
        self._told, self._open, self._buffer = Event(), Lock(), bytearray()
        given = {**arguments, "requests": str(asks), "answers": str(says)}

        def live() -> None:
            try:
                guarded(
                    task,
                    given,
                    read=[*read],
                    write=[asks, says],
                    limits=limits,
                    what=what,
                    paths=paths,
                    until=self._told.is_set,
                )
            except RadproofError as error:
                self.error = error
            except Exception as error:
                self.error = RadproofError(f"its process could not be started ({type(error).__name__})")
            finally:
                os.close(over)

        self._thread = Thread(target=live, name="resident", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it may still answer."""
        return self._thread.is_alive() and not self._told.is_set()

    def ask(self, question: Mapping[str, Any], seconds: float) -> bytes:
        """One line in, one line out. Raises Silent, Gone."""
        line = json.dumps(question, allow_nan=False).encode() + b"\n"
        with self._open:
            if self._told.is_set() or self._heard():
                raise Gone("it answered before it was asked")
            try:
                if os.write(self._asks, line) != len(line):
                    raise Gone("it does not listen")
            except BlockingIOError:
                raise Gone("it does not listen") from None
            return self._line(seconds)

    def hear(self, seconds: float) -> bytes:
        """Its next line, unasked: its first words. Raises Silent, Gone."""
        with self._open:
            return self._line(seconds)

    def close(self) -> None:
        """End it; nothing of it stays."""
        if self._told.is_set():
            return
        self._told.set()
        self._thread.join(_ENDING)
        with self._open:
            for stream in (self._asks, self._says, self._over):
                with suppress(OSError):
                    os.close(stream)

    def _heard(self) -> bool:
        return bool(self._buffer) or bool(select.select([self._says], [], [], 0)[0])

    def _line(self, seconds: float) -> bytes:
        due = time.monotonic() + seconds
        while (end := self._buffer.find(b"\n")) < 0:
            if self._told.is_set():
                raise Gone("it was told to end")
            ready = select.select([self._says, self._over], [], [], max(0.0, due - time.monotonic()))[0]
            if not ready or time.monotonic() > due:  # a drop at a time is no answer
                raise Silent("it did not answer in time")
            piece = b""
            if self._says in ready:
                with suppress(BlockingIOError):
                    piece = os.read(self._says, 1 << 16)
            if not piece:  # its end of the pipe is closed: it ended, or is about to, and then says why
                select.select([self._over], [], [], _LAST)
                raise Gone("it ended")
            self._buffer += piece
            if len(self._buffer) > MOST:
                raise Gone(f"it answered with more than {MOST >> 10} kB")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line


class Desk:
    """The other end of the pipes, in the guarded process: a loop over what is asked, until there is nobody to ask."""

    def __init__(self, requests: str, answers: str) -> None:
        self._asked = open(requests, "rb")  # noqa: SIM115 open as long as the process
        self._said = open(answers, "wb", buffering=0)  # noqa: SIM115

    def __iter__(self) -> "Desk":
        return self

    def __next__(self) -> dict[str, Any]:
        line = self._asked.readline()
        if not line:
            raise StopIteration
        return json.loads(line)

    def say(self, words: Any) -> None:
        """One line of strict JSON."""
        rest = memoryview(json.dumps(words, allow_nan=False).encode() + b"\n")
        while rest:
            rest = rest[self._said.write(rest) or 0 :]
