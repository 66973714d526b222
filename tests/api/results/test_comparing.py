# SPDX-License-Identifier: Apache-2.0
"""Comparisons wait in a queue that nobody can fill for others, and their command is told nothing of the server."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from radproof.api.http.problems import Problem
from radproof.api.results import comparing
from radproof.api.results.children import Children, Ended
from radproof.api.results.comparing import ALL, EACH, Compared, Comparisons
from radproof.api.serving.server import opened
from radproof.store.settings import read_settings


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Every comparison waits for it."""
    event = Event()

    def waits(settings: object, a: str, b: str, children: object) -> Compared:
        event.wait(30)
        return Compared(on=f"{a} {b}")

    monkeypatch.setattr(comparing, "compare", waits)
    monkeypatch.setattr(comparing, "finished", lambda settings, run: run.id)
    yield event
    event.set()


@pytest.fixture
def ask(free: Event) -> Iterator[object]:
    """ask(user, a, b)"""
    made = Comparisons()

    def asked(user: str, a: object, b: object, patience: float = 0) -> Compared | None:
        return made.get(None, SimpleNamespace(id=str(a)), SimpleNamespace(id=str(b)), user, patience)  # type: ignore[arg-type]

    yield asked
    free.set()
    made.close()


def test_nobody_has_more_than_two_unfinished(ask, free: Event) -> None:
    for other in range(EACH):
        assert ask("one", "a", other) is None
    assert ask("one", "a", 0) is None  # the same again is no other one
    with pytest.raises(Problem) as found:
        ask("one", "a", "b")
    assert (found.value.status, found.value.headers["Retry-After"]) == (429, "5")
    assert ask("two", "a", "b") is None
    assert ask("one", "a", "b") is None  # another's, to be waited for with them
    free.set()
    assert ask("one", "a", 0, 30).on == "a 0" and ask("one", "a", 1, 30).on == "a 1"
    assert ask("one", "c", "d", 30).on == "c d"


def test_all_together_have_no_more_than_sixteen(ask) -> None:
    for number in range(ALL):
        assert ask(f"user {number}", "a", number) is None
    with pytest.raises(Problem, match="too many comparisons"):
        ask("another", "a", "b")


def test_the_command_is_told_no_setting_of_the_server(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RADPROOF_DATABASE", "RADPROOF_OIDC_CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    told: dict[str, str] = {}

    def run(_: Children, command: list[str], folder: Path, environment: dict[str, str], longest: float) -> Ended:
        told.update(environment)
        return Ended(0, json.dumps({}), "")

    monkeypatch.setattr(Children, "run", run)
    comparing.compare(read_settings(home=tmp_path), "a", "b")
    assert "secret" not in told.values() and "PATH" in told
    assert "RADPROOF_SUPERVISED" not in told and told["OMP_NUM_THREADS"] == "1"


def test_a_comparison_at_work_ends_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(home=tmp_path)
    settings.folder("runs").mkdir(parents=True)
    begun = Event()
    children: list[subprocess.Popen[str]] = []

    class Sleeps(subprocess.Popen[str]):
        def __init__(self, command: list[str], **told: object) -> None:
            super().__init__([sys.executable, "-c", "import time; time.sleep(100)"], **told)  # type: ignore[call-overload]
            children.append(self)
            begun.set()

    monkeypatch.setattr(subprocess, "Popen", Sleeps)
    monkeypatch.setattr(comparing, "finished", lambda settings, run: run.id)
    with opened(settings) as service:
        ask = partial(service.comparisons.get, settings, SimpleNamespace(id="a"))
        assert ask(SimpleNamespace(id="b"), "one", 0) is None and begun.wait(30)
        assert ask(SimpleNamespace(id="c"), "one", 0) is None
    ended = ask(SimpleNamespace(id="b"), "one", 30)
    assert ended is not None and "the server was ended" in ended.refused
    assert children[0].returncode == -signal.SIGKILL
    assert ask(SimpleNamespace(id="c"), "one", 30) is None and len(children) == 1  # never begun
