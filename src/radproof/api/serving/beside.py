# SPDX-License-Identifier: Apache-2.0
"""The worker beside the server: a process that is started again when it dies, and ends when the server does."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event, Lock, Thread
from time import monotonic

from radproof.api.observing.logs import logger

LEAST, MOST = 1.0, 60.0  # seconds before it is started again, doubled with each death
HEALTHY = 60.0  # seconds after which a life counts as a good one
GENTLE = 8.0  # seconds that it may take to end


class Beside:
    """A command that is kept running. Its stdin stays open as long as the server lives."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        wait: Callable[[Event, float], bool] = Event.wait,
    ) -> None:
        self._command, self._environment, self._wait = list(command), environment, wait
        self._stopping, self._lock = Event(), Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._keep, name="worker's keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_end(self) -> None:
        """Tell the process to end, and do not wait: its stdin closes, and SIGTERM comes."""
        self._stopping.set()
        with self._lock:
            child = self._child
        if child is not None and child.poll() is None:
            _hang_up(child)
            with suppress(ProcessLookupError):
                child.terminate()

    def close(self) -> None:
        """End the process: gently, within seconds, then not."""
        self.ask_to_end()
        with self._lock:
            child = self._child
        if child is not None:
            try:
                child.wait(GENTLE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._thread.is_alive():
            self._thread.join(GENTLE)

    def _keep(self) -> None:
        pause = LEAST
        while not self._stopping.is_set():
            began = monotonic()
            code = self._live()
            if self._stopping.is_set():
                logger().info("worker.stopped", code=code)
                return
            pause = LEAST if monotonic() - began > HEALTHY else pause
            logger().warning("worker.ended", code=code, seconds=pause)
            self._wait(self._stopping, pause)
            pause = min(MOST, 2 * pause)

    def _live(self) -> int:
        with self._lock:
            if self._stopping.is_set():
                return 0
            # A session of its own: Ctrl-C reaches the server, which then ends the worker in order.
            child = self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=None if self._environment is None else dict(self._environment),
                start_new_session=True,
            )
        logger().info("worker.started")
        try:
            return child.wait()
        finally:
            _hang_up(child)


def _hang_up(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with suppress(OSError):
            child.stdin.close()
