# SPDX-License-Identifier: Apache-2.0
"""A real server as a process, and what a browser needs to use it; for tests, screenshots and the load."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

PASSWORD = "a calm harbour at dawn"


class Site:
    """`radproof serve` on a free port of the loopback."""

    def __init__(self, home: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.home, self.lines = home, list[str]()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "radproof", "serve", "--home", str(home), "--port", "0", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **(environment or {})},
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address = self.told(r"listens on (http://\S+)")
        self.told(r"(server\.started)")

    def told(self, pattern: str, seconds: float = 120) -> str:
        """The first group of the first line that says so."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the server did not say {pattern!r}: {''.join(self.lines)[-3000:]}")

    @property
    def link(self) -> str:
        """The first administrator's, once."""
        return self.told(r"(http://\S+/invite/\S+)")

    def stop(self) -> int:
        """In order."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            return self.kill()
        return self._gone()

    def kill(self) -> int:
        """With -9."""
        self.process.kill()
        return self._gone()

    def _gone(self) -> int:
        code = self.process.wait()
        self._reader.join(5)
        if self.process.stderr:
            self.process.stderr.close()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
