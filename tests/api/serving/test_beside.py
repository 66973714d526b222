# SPDX-License-Identifier: Apache-2.0
"""The process beside the server: started again when it dies, and never left behind."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from radproof.api.serving import beside
from radproof.api.serving.beside import Beside


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def command(code: str, *arguments: Path) -> list[str]:
    return [sys.executable, "-S", "-c", code, *map(str, arguments)]


def test_what_dies_is_started_again_and_each_time_later(tmp_path: Path) -> None:
    waited: list[float] = []

    def wait(stopping: Event, seconds: float) -> bool:
        waited.append(seconds)
        return stopping.wait(0 if len(waited) < 4 else None)

    code = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(3)"
    kept = Beside(command(code, tmp_path / "lives"), wait=wait)
    kept.start()
    until(lambda: len(waited) == 4)
    kept.close()
    assert waited == [1.0, 2.0, 4.0, 8.0]
    assert (tmp_path / "lives").read_text() == "xxxx"


def test_it_ends_when_its_stdin_closes_or_sigterm_comes(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w'); sys.stdin.read(); open(sys.argv[2], 'w').write('gently')"
    kept = Beside(command("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + code,
                          tmp_path / "up", tmp_path / "end"))  # fmt: skip
    kept.start()
    until((tmp_path / "up").exists)
    kept.close()
    assert (tmp_path / "end").read_text() == "gently"


def test_one_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "GENTLE", 0.3)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code = f"import signal, sys, time; {ignore}; open(sys.argv[1], 'w'); time.sleep(600)"
    kept = Beside(command(code, tmp_path / "up"))
    kept.start()
    until((tmp_path / "up").exists)
    kept.close()
    child = kept._child  # pyright: ignore[reportPrivateUsage]
    assert child is not None and child.poll() == -9


def test_nothing_is_left_of_it_when_the_server_is_killed(tmp_path: Path) -> None:
    """The server's death closes the stdin, with no word said."""
    inner = "import sys; open(sys.argv[1], 'w'); sys.stdin.read(); open(sys.argv[2], 'w')"
    outer = (
        "import sys, time; from radproof.api.serving.beside import Beside; "
        f"Beside([sys.executable, '-S', '-c', {inner!r}, *sys.argv[1:]]).start(); time.sleep(600)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", outer, tmp_path / "up", tmp_path / "end"], stderr=subprocess.DEVNULL
    )
    try:
        until((tmp_path / "up").exists)
    finally:
        server.kill()
        server.wait()
    until((tmp_path / "end").exists)


def test_closed_before_it_was_started_it_never_starts(tmp_path: Path) -> None:
    kept = Beside(command("import sys; open(sys.argv[1], 'w')", tmp_path / "up"))
    kept.close()
    kept.start()
    kept.close()
    assert not (tmp_path / "up").exists()
