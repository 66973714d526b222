"""A guarded call of tests/core/misbehaving.py, and the same call without a guard."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import radproof
from radproof.core.guard import guarded, level

HERE = Path(__file__).parent
SOURCE = Path(radproof.__file__).parents[1]


class Notes:
    """A Progress that keeps what it is told."""

    def __init__(self):
        self.told = []

    def start(self, stage, total):
        self.told.append(("start", stage, total))

    def advance(self, stage, amount=1.0):
        self.told.append(("advance", stage, amount))

    def note(self, message):
        self.told.append(("note", message))

    @property
    def notes(self):
        return [what[1] for what in self.told if what[0] == "note"]


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def within():
    """within("echo", {"a": 1}, ...) in a guarded child."""

    def call(name, arguments=None, **how):
        return guarded(f"misbehaving:{name}", arguments or {}, paths=[HERE], **how)

    return call


@pytest.fixture
def plainly(tmp_path_factory):
    """plainly("echo", a=1) in a child like any other; None if it ends without an answer."""

    def call(name, **arguments):
        code = (
            "import json, sys, misbehaving\n"
            "name, given = json.loads(sys.argv[1])\n"
            "answer = getattr(misbehaving, name)(**given)\n"
            "open(sys.argv[2], 'w').write(json.dumps(answer))\n"
        )
        home = tmp_path_factory.mktemp("plain")
        subprocess.run(
            [sys.executable, "-B", "-c", code, json.dumps([name, arguments]), str(home / "answer")],
            env={**os.environ, "PYTHONPATH": f"{HERE}:{SOURCE}"},
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        return json.loads((home / "answer").read_text()) if (home / "answer").exists() else None

    return call


@pytest.fixture(scope="session")
def reached():
    """The level that the guard reaches on this machine."""
    return level()


@pytest.fixture
def needs(reached):
    """Skips where the machine cannot reach what a test is about."""

    def ask(*words):
        for word in words:
            if not any(word in told for told in reached):
                pytest.skip(f"this machine has no {word}")

    return ask


def alive(mark: str) -> list[int]:
    """Processes whose environment holds `mark`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


@pytest.fixture
def living():
    return alive
