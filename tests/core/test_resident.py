# SPDX-License-Identifier: Apache-2.0
"""A guarded process that stays: it answers line by line, is ended when it does not, and never outlives its server."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radproof.core.guard import Limits, level, missing
from radproof.core.resident import Gone, Resident, Silent
from radproof.errors import BadInput

HERE = Path(__file__).parent
LONG = 30.0


@pytest.fixture
def lodger(tmp_path):
    """lodger("echoes") starts one; all are ended."""
    started = []

    def start(name, **limits):
        folder = tmp_path / str(len(started))
        folder.mkdir()
        one = Resident(
            f"lodgers:{name}", {}, folder, read=[folder], limits=Limits(cpu=None, wall=None, **limits), paths=[HERE]
        )
        started.append(one)
        return one

    yield start
    for one in started:
        one.close()


def test_it_answers_each_line_with_one(lodger):
    one = lodger("echoes")
    assert json.loads(one.hear(LONG)) == "ready"
    for number in range(200):
        assert json.loads(one.ask({"n": number, "s": "ä\n"}, LONG)) == {"n": number, "s": "ä\n"}
    assert one.alive


def test_it_ends_when_it_is_told_to(lodger):
    one = lodger("echoes")
    one.hear(LONG)
    one.close()
    assert not one.alive
    with pytest.raises(Gone):
        one.ask({}, LONG)
    one.close()


def test_one_that_sleeps_is_ended_all_the_same(lodger):
    one = lodger("does")
    with pytest.raises(Silent):
        one.ask({"do": "sleep"}, 0.5)
    one.close()
    assert not one._thread.is_alive()


@pytest.mark.parametrize("how", ["leave", "flood", "shut"])
def test_one_that_ends_floods_or_closes_its_answers_is_gone(lodger, how):
    one = lodger("does")
    with pytest.raises(Gone):
        one.ask({"do": how}, LONG)
    if how == "leave":
        assert "exit code 3" in str(one.error)


def test_an_answer_that_nobody_asked_for_is_noticed(lodger):
    one = lodger("does")
    assert one.ask({"do": "twice"}, LONG) == b"1"
    assert one._heard() or select.select([one._says], [], [], LONG)[0]  # the second line is on its way
    with pytest.raises(Gone, match="before it was asked"):
        one.ask({"do": "twice"}, LONG)


def test_it_reads_nothing_but_what_it_was_given(lodger, tmp_path):
    if missing(level()):
        pytest.skip("the guard cannot shut off files here")
    secret, own = tmp_path / "secret", tmp_path / "0" / "image"
    one = lodger("does")
    secret.write_text("Doe")
    own.write_text("pixels")
    assert json.loads(one.ask({"do": "read", "path": str(secret)}, LONG)) == {"errno": 13}
    assert json.loads(one.ask({"do": "read", "path": str(own)}, LONG)) == "pixels"


def test_errors_at_its_beginning_are_told(lodger):
    one = lodger("nothing_of_that_name")
    with pytest.raises(Gone):
        one.hear(LONG)
    assert isinstance(one.error, BadInput) and "AttributeError" in str(one.error)


def test_it_ends_with_the_server_however_that_ends(tmp_path):
    """SIGKILL leaves nobody to tell it: its pipe ends, and the kernel ends it too."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from radproof.core.resident import Resident; from radproof.core.guard import Limits\n"
        f"one = Resident('lodgers:echoes', {{}}, Path({str(tmp_path)!r}), read=[], limits=Limits(), "
        f"paths=[Path({str(HERE)!r})])\n"
        "one.hear(30); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"up\n"
        children = Path(f"/proc/{server.pid}/task")
        numbers = [int(n) for t in children.iterdir() for n in (t / "children").read_text().split()]
        assert numbers
        os.kill(server.pid, signal.SIGKILL)
    end = time.monotonic() + LONG
    while any(_lives(number) for number in numbers):
        assert time.monotonic() < end, "it outlived its server"
        time.sleep(0.01)


def _lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
