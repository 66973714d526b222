# SPDX-License-Identifier: Apache-2.0
"""The command that does a job: radproof's own, as a child that is told nothing secret and ends with its worker."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from radproof.jobs.kinds import Outcome
from radproof.jobs.progress import LINE, Meter

_PASSED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|VIRTUAL_ENV|PYTHON(PATH|HASHSEED|HOME|WARNINGS)|SSL_CERT_\w+"
    r"|OMP_\w+|MKL_\w+|OPENBLAS_\w+|CUDA_\w+|CUBLAS_\w+|NVIDIA_\w+|PYTORCH_\w+|TORCH_\w+|LD_LIBRARY_PATH|LD_PRELOAD"
    r"|XDG_(CACHE|CONFIG|DATA|RUNTIME)_\w+|HF_HOME|HF_HUB_OFFLINE|KERAS_HOME|MPLCONFIGDIR|MPLBACKEND|RADPROOF_GUARD(_MEMORY)?"
)
OUTPUT, TAIL = 4_000_000, 40  # bytes of stdout, lines of stderr that are kept
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Command:
    """One run of it. Its stdin stays open as long as the worker lives, and says nothing."""

    def __init__(
        self, arguments: Sequence[str], meter: Meter, *, folder: Path, threads: int, program: Sequence[str] = ()
    ) -> None:
        self.meter = meter
        self.asked = False  # to end
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._printed = bytearray()
        self._process = subprocess.Popen(
            [*(program or (sys.executable, "-m", "radproof")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment(os.environ, threads),
            start_new_session=True,
            bufsize=0,
        )
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after so many seconds at most."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask_to_end(self) -> None:
        """It finishes its batch, or drops it, and ends."""
        self.asked = True
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """At once, with everything it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> Outcome:
        """Nothing of it is left; how it ended."""
        self.kill()
        for reader in self._readers:
            reader.join(5.0)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        code, told = self._process.returncode, self.meter
        error = told.error if told.code == code else ""
        if code == 1 and told.code != 1:
            code = 3  # an interpreter that fails, or is stopped early, ends so too: this is no answer
        if not error and code > 1:
            error = next(reversed(self.tail), "") or f"the command ended with the exit code {code} and no word"
        elif code < 0:
            error = f"the system ended the process ({_signal(-code)}), most likely for want of memory"
        return Outcome(code, self._printed.decode(errors="replace"), error)

    @property
    def stopped(self) -> bool:
        """Whether it ended because it was asked to, before its work was done."""
        code = self._process.returncode
        return self.asked and not (code == 0 or (code == 1 and self.meter.code == 1))

    def _read_stdout(self) -> None:
        stream = self._process.stdout
        while stream is not None and (piece := stream.read(65_536)):
            self._printed += piece[: max(0, OUTPUT - len(self._printed))]

    def _read_stderr(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        for line in bounded_lines(stream, LINE):
            if not self.meter.feed(line):
                text = line.decode(errors="replace").strip()[:500]
                if text:
                    self.tail.append("".join(c if c.isprintable() else " " for c in text))


def bounded_lines(stream: IO[bytes], most: int) -> "LinesOf":
    """Lines of a stream; of one that is longer, the first `most` bytes."""
    return LinesOf(stream, most)


class LinesOf:
    """An iterator that never holds more than a piece and a line."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most = stream, most
        self._held = bytearray()
        self._ready: deque[bytes] = deque()
        self._ended = False

    def __iter__(self) -> "LinesOf":
        return self

    def __next__(self) -> bytes:
        while not self._ready:
            if self._ended:
                raise StopIteration
            self._fill()
        return self._ready.popleft()

    def _fill(self) -> None:
        piece = self._stream.read(65_536)
        if not piece:
            self._ended = True
            if self._held:
                self._ready.append(bytes(self._held))
            return
        *whole, rest = piece.split(b"\n")
        for part in whole:
            self._hold(part)
            self._ready.append(bytes(self._held))
            self._held.clear()
        self._hold(rest)

    def _hold(self, part: bytes) -> None:
        self._held += part[: max(0, self._most - len(self._held))]


def environment(given: Mapping[str, str], threads: int) -> dict[str, str]:
    """What the command is told: no setting of the server, nothing secret, and the same number of threads always."""
    passed = {name: value for name, value in given.items() if _PASSED.fullmatch(name)}
    return {
        **passed,
        **dict.fromkeys(_THREADS, str(threads)),  # what the job began with, whatever this worker was told
        "RADPROOF_SUPERVISED": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
