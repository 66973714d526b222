# SPDX-License-Identifier: Apache-2.0
"""A command that a stranger's file may lead says much: what is kept of it and what a look at it costs are bounded."""

import json
from contextlib import contextmanager
from threading import Event

import pytest

from radproof.core import whole
from radproof.jobs import progress
from radproof.jobs.doing import Doing, Lease
from radproof.jobs.progress import EXPECTED, KINDS, Meter


def feed(meter, at=0.0, **line):
    return meter.feed(json.dumps(line, separators=(",", ":")).encode(), at)


def stages(first, count, passes=1):
    return [["s", [[f"k{number}", passes, 1, 0] for number in range(first, first + count)]]]


def test_a_look_goes_over_what_was_read_once_and_not_once_per_piece(monkeypatch):
    meter, looks = Meter(), []
    assert feed(meter, expect=stages(0, 150))
    feed(meter, stage="s", done=0, total=1)
    feed(meter, 9.0, stage="s", done=1, total=1)  # every kind has a reading
    assert feed(meter, expect=stages(150, 150)) and feed(meter, expect=stages(300, 150))
    real = whole._Readings.sums.fget
    monkeypatch.setattr(whole._Readings, "sums", property(lambda one: looks.append(1) or real(one)))
    assert meter.shown()["left"] > 0
    assert 0 < len(looks) <= 6 * 150


def test_kinds_of_work_beyond_the_bound_are_not_listened_to():
    meter = Meter()
    for first in range(0, KINDS, 100):
        assert feed(meter, expect=stages(first, 100))
    assert not feed(meter, expect=stages(KINDS, 1)) and feed(meter, expect=stages(0, 100))
    assert len(meter._whole._done) == KINDS
    meter.again()
    assert not feed(meter, expect=stages(KINDS, 1))


def test_what_is_to_come_is_heard_so_many_times_and_anew_once_the_command_is_begun_anew():
    meter = Meter()
    assert [feed(meter, expect=stages(0, 1)) for _ in range(EXPECTED + 2)] == [True] * EXPECTED + [False] * 2
    meter.again()
    assert feed(meter, expect=stages(0, 1))


def test_a_line_and_a_look_wait_for_each_other(monkeypatch):
    meter, held = Meter(), []
    assert feed(meter, expect=stages(0, 2))
    feed(meter, stage="s", done=0, total=1)
    monkeypatch.setattr(progress.Meter, "_told", lambda one: held.append(one._lock.locked()) or {})
    meter.shown()
    assert held == [True] and not meter._lock.locked()


def test_a_look_is_over_before_the_database_is_written_to(monkeypatch):
    order = []

    class Base:
        @contextmanager
        def writing(self):
            order.append("transaction")
            yield None

    hand = Doing.__new__(Doing)
    hand.database, hand.stop = Base(), Event()
    monkeypatch.setattr(Doing, "_look", lambda *_: "running")
    meter = Meter()
    monkeypatch.setattr(meter, "shown", lambda: order.append("look") or {})
    assert hand._state(Lease("job", 1), meter) == "running" and order == ["look", "transaction"]


@pytest.mark.parametrize("count", [1, 200])
def test_a_plan_of_the_usual_size_is_told_as_before(count):
    meter = Meter()
    assert feed(meter, expect=stages(0, count, passes=2))
    feed(meter, stage="s", done=0, total=10)
    feed(meter, 10.0, stage="s", done=5, total=10)
    shown = meter.shown()
    assert shown["share"] == pytest.approx(2 / 3, abs=0.01) and shown["left"] == pytest.approx(10, abs=0.1)
