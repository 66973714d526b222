# SPDX-License-Identifier: Apache-2.0
"""Commands of ours in processes of their own, which end when the server does."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Children:
    """Commands are waited for by whoever began them; `close` ends those at work, and no other one is begun."""

    def __init__(self) -> None:
        self._at_work: set[subprocess.Popen[str]] = set()
        self._closed = False
        self._lock = Lock()

    def run(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], longest: float) -> Ended | None:
        """Until it ends. None where it took longer than `longest` seconds, or was ended by `close`."""
        with self._lock:
            if self._closed:
                return None
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self._at_work.add(child)
        try:
            out, err = child.communicate(timeout=longest)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with self._lock:
                self._at_work.discard(child)
            if child.poll() is None:
                child.kill()
                child.communicate()
        return None if self._closed else Ended(child.returncode, out, err)

    def close(self) -> None:
        """End what is at work."""
        with self._lock:
            self._closed = True
            for child in self._at_work:
                child.kill()
