# SPDX-License-Identifier: Apache-2.0
"""A worker's hand on one job: cancelled, paused, lost, killed, held up, and what the command is told."""

import functools
import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from radproof.jobs import doing as module
from radproof.jobs import kinds
from radproof.jobs.doing import Doing, Lease, scrub
from radproof.jobs.engine import Released
from radproof.jobs.kinds import Kind
from radproof.jobs.process import Command, environment
from radproof.jobs.progress import Meter
from radproof.store.tables import Job, now

from .test_queue import ask

PROGRAM = (sys.executable, str(Path(__file__).with_name("command.py")))


@pytest.fixture
def hand(furnished_light, monkeypatch):
    """(how) -> a hand whose job's command does so."""
    made = furnished_light
    monkeypatch.setattr(module, "Command", functools.partial(Command, program=PROGRAM))
    monkeypatch.setattr(module, "OFTEN", 0.05)

    def begin(how):
        folder = made.settings.home.resolve()
        ended = []
        kind = Kind(lambda *_: [how, str(folder)], lambda session, job, settings, outcome: ended.append(outcome))
        monkeypatch.setattr(kinds, "kind_of", lambda name: kind)
        for used in ("doing", "ending", "queue"):
            monkeypatch.setattr(f"radproof.jobs.{used}.kind_of", lambda name: kind)
        with made.database.writing() as session:
            job = made.jobs.submit(session, "x", subject_id="s", project_id=made.project, created_by=None).id
        return Hand(made, job, ended)

    return begin


class Hand:
    def __init__(self, laboratory, job, ended):
        self.laboratory, self.name, self.ended = laboratory, job, ended
        self.stop, self.lease = threading.Event(), Lease(job, 1)
        self.doing = Doing(laboratory.settings, laboratory.database, "one", self.stop)
        self.folder = laboratory.settings.home
        self.told, self.released = None, False

    def go(self):
        assert self.doing.take(self.lease)
        try:
            self.told = self.doing.command(self.lease)
            self.doing.end(self.lease, self.told)
        except Released:
            self.released = True
        return self.job

    def begin(self):
        self.thread = threading.Thread(target=self.go)
        self.thread.start()
        self.laboratory.until(self.name, lambda job: job.progress.get("note") == "waiting", 60)

    def over(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.job

    @property
    def job(self) -> Job:
        return self.laboratory.job(self.name)

    @property
    def pids(self):
        return [int(line) for line in (self.folder / "began").read_text().split()]


def dead(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def test_done_with_its_progress(hand):
    one = hand("well")
    job = one.go()
    assert (job.state, job.code, job.error) == ("done", 0, "")
    assert job.started <= job.finished <= now()
    assert [outcome.code for outcome in one.ended] == [0]


@pytest.mark.parametrize(
    ("how", "state", "code"), [("gate", "done", 1), ("fails", "failed", 2), ("breaks", "failed", 3)]
)
def test_how_it_ends(hand, how, state, code):
    job = hand(how).go()
    assert (job.state, job.code) == (state, code)
    assert job.error == {"done": "", "fails": "cannot read secret/file.png: no"}.get(
        "done" if state == "done" else how, job.error
    )


@pytest.mark.parametrize(("verb", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_stopped_by_the_user_with_its_batches_kept(hand, verb, state):
    one = hand("waits")
    one.begin()
    ask(one.laboratory, verb, one.name)
    job = one.over()
    assert job.state == state and dead(one.pids[0])
    assert one.told["code"] == 130
    assert len(one.ended) == (verb == "cancel")


def test_a_command_that_does_not_listen_is_killed(hand, monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.2)
    one = hand("deaf")
    one.begin()
    ask(one.laboratory, "cancel", one.name)
    assert one.over().state == "cancelled" and dead(one.pids[0])


def test_a_worker_that_ends_puts_its_job_back(hand):
    one = hand("waits")
    one.begin()
    one.stop.set()
    job = one.over()
    assert one.released and dead(one.pids[0])
    assert (job.state, job.worker, job.attempt) == ("queued", "", 1) and not one.ended


def test_a_job_that_another_worker_took_over_is_let_go(hand):
    one = hand("waits")
    one.begin()
    with one.laboratory.database.writing() as session:
        session.get(Job, one.name).worker = "two"
    job = one.over()
    assert one.released and dead(one.pids[0])
    assert (job.state, job.worker) == ("running", "two")


def test_the_command_goes_on_while_the_database_is_away(hand, monkeypatch):
    one = hand("waits")
    one.begin()
    away, asked = threading.Event(), threading.Event()
    away.set()
    look = one.doing._look

    def broken(*given):
        if away.is_set():
            asked.set()
            raise OperationalError("select", {}, Exception("database is locked"))
        return look(*given)

    monkeypatch.setattr(one.doing, "_look", broken)
    assert asked.wait(30) and not dead(one.pids[0])
    (one.folder / "go").touch()
    away.clear()
    assert one.over().state == "done" and len(one.pids) == 1


@pytest.fixture
def rests(monkeypatch):
    """Pauses between two commands, none of which is taken."""
    found = []
    monkeypatch.setattr(module.Doing, "_rest", lambda self, lease, seconds: found.append(seconds))
    return found


def test_a_killed_command_is_started_again(hand, rests):
    one = hand("killed")
    assert one.go().state == "done" and len(one.pids) == 3
    assert rests == [0.5, 1.0]


def test_a_command_that_is_always_killed_fails_in_the_end(hand, rests, monkeypatch):
    monkeypatch.setattr(module, "STARTS", 3)
    one = hand("killed again and again")
    job = one.go()
    assert job.state == "failed" and "for want of memory" in job.error and len(one.pids) == 3


def test_a_folder_that_another_process_holds_is_waited_for(hand, rests):
    one = hand("busy")
    assert one.go().state == "done" and len(one.pids) == 3
    assert rests == [1.0, 1.0]


def test_endless_lines_are_bounded(hand):
    one = hand("noise")
    assert one.go().state == "done"
    assert len(one.told["stdout"]) == 4_000_000


def test_a_command_is_told_nothing_secret(hand, monkeypatch):
    for name in ("RADPROOF_DATABASE", "RADPROOF_OIDC_CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "X_TOKEN"):
        monkeypatch.setenv(name, "secret")
    one = hand("told")
    one.go()
    names = json.loads(one.told["stdout"].replace("'", '"'))
    assert not {name for name in names if "SECRET" in name or "PASS" in name or "TOKEN" in name}
    assert {name for name in names if name.startswith("RADPROOF")} == {"RADPROOF_SUPERVISED"}


def test_a_command_is_told_how_its_guard_is_set():
    told = {"RADPROOF_GUARD": "strict", "RADPROOF_GUARD_MEMORY": "4", "RADPROOF_GUARDED": "1", "RADPROOF_GUARD_X": "1"}
    assert {name for name in environment(told, 1) if name.startswith("RADPROOF_GUARD")} == {
        "RADPROOF_GUARD",
        "RADPROOF_GUARD_MEMORY",
    }


def test_as_many_threads_after_every_restart():
    assert environment({}, 3)["OMP_NUM_THREADS"] == "3"
    told = environment({"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "8"}, 3)  # another worker, or the same one restarted
    assert (told["OMP_NUM_THREADS"], told["MKL_NUM_THREADS"]) == ("3", "3")


def test_a_command_does_not_outlive_its_worker(tmp_path):
    """The other end of its stdin is closed by the system when a worker dies, however it dies."""
    script = (
        "import sys, os, time; from radproof.jobs.process import Command; from radproof.jobs.progress import Meter\n"
        "from pathlib import Path\n"
        f"one = Command(['waits', {str(tmp_path)!r}], Meter(), folder=Path({str(tmp_path)!r}), threads=1,"
        f" program={PROGRAM!r})\n"
        "while not one.meter.shown().get('note'): time.sleep(0.02)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", script])
    pid = int((tmp_path / "began").read_text())
    ended = threading.Event()
    for _ in range(500):
        if dead(pid):
            break
        ended.wait(0.02)
    assert dead(pid)


def test_sentences_name_no_folders():
    assert scrub("/srv/home/runs/run_x is bad; see /usr/lib/python/x.py, 4/255 or http://a/b", Path("/srv/home")) == (
        "runs/run_x is bad; see x.py, 4/255 or http://a/b"
    )


def test_meters_believe_nothing():
    meter = Meter()
    for line in (
        b"", b"text", b"{", b"[]", b"{}", b'{"stage": 1, "done": 1, "total": 2}', b'{"error": 1, "code": 2}',
        b'{"stage": "a", "done": NaN, "total": 2}', b'{"stage": "a", "done": "1", "total": 2}',
        b'{"stage": "a", "done": 1, "total": 0}',
        b'{"stage": "a", "done": true, "total": 2}', b"[" * 30_000, b'{"note": "' + b"x" * 40_000 + b'"}',
    ):  # fmt: skip
        assert not meter.feed(line)
    assert meter.shown() == {}
    assert meter.feed(b'{"stage": "a\\u001b", "done": 9, "total": 2}')
    assert meter.shown()["share"] == 1.0 and meter.shown()["stage"] == "a "


def test_time_left_is_told_of_the_stage_alone_and_not_in_its_first_seconds():
    meter = Meter()

    def say(at, stage, done, total):
        meter.feed(json.dumps({"stage": stage, "done": done, "total": total}).encode(), at)
        return meter.shown()

    assert say(0, "a", 0, 10)["left"] is None
    assert say(2, "a", 2, 10)["left"] is None
    shown = say(5, "a", 5, 10)
    assert (shown["left"], shown["share"], shown["number"]) == (5.0, 0.5, 1)
    shown = say(6, "b", 0, 100)
    assert (shown["left"], shown["share"], shown["number"]) == (None, 0.0, 2)


def test_the_rate_is_that_of_late():
    meter = Meter()
    for at in range(0, 101):
        meter.feed(json.dumps({"stage": "a", "done": at, "total": 1000}).encode(), float(at))
    for at in range(101, 200):
        meter.feed(json.dumps({"stage": "a", "done": 100 + (at - 100) * 3, "total": 1000}).encode(), float(at))
    assert meter.shown()["left"] == pytest.approx((1000 - 397) / 3, rel=0.01)
    with suppress(ValueError):
        json.dumps(meter.shown(), allow_nan=False)
