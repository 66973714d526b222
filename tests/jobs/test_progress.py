# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a run: the whole of it, with its range, and the stage beside it."""

import json

import pytest

from radproof.core.progress import told
from radproof.core.whole import Piece, Stage
from radproof.jobs.progress import Meter

PLAN = (Stage("attacks", (Piece("attacks", 900),)), Stage("summary", (Piece("summary", 100),)))


def say(meter, at=0.0, **line):
    assert meter.feed(json.dumps(line).encode(), at)
    return meter.shown()


def test_share_and_time_left_are_those_of_the_whole_run():
    meter = Meter()
    say(meter, expect=[])
    say(meter, expect=told(PLAN))
    assert say(meter, 0.0, stage="attacks", done=0, total=90)["left"] is None
    shown = say(meter, 10.0, stage="attacks", done=45, total=90)
    assert (shown["share"], shown["stage_share"]) == (0.45, 0.5)
    assert shown["left"] == pytest.approx(550 / 45, abs=0.1) and shown["stage_left"] == 10.0
    assert shown["left_low"] < shown["left"] < shown["left_high"]


def test_a_command_that_is_killed_and_begun_anew_does_not_fall_back():
    meter = Meter(share=0.3)
    say(meter, expect=[])
    assert say(meter, 0.0, stage="unpack", done=1, total=1)["share"] == 0.3
    say(meter, expect=told(PLAN))
    say(meter, 0.0, stage="attacks", done=0, total=90)
    assert say(meter, 10.0, stage="attacks", done=81, total=90)["share"] == 0.81
    meter.again()
    say(meter, expect=[])
    say(meter, expect=told((Stage("attacks", (Piece("attacks", 200, before=700),)), PLAN[1])))
    assert say(meter, 20.0, stage="attacks", done=0, total=20)["share"] == 0.81
    assert say(meter, 30.0, stage="attacks", done=20, total=20)["share"] == 0.9


def test_work_that_says_nothing_of_what_is_to_come_is_told_by_its_stage():
    meter = Meter(share=0.3)
    say(meter, 0.0, stage="a", done=0, total=10)
    shown = say(meter, 5.0, stage="a", done=5, total=10)
    assert shown["share"] == shown["stage_share"] == 0.5 and shown["left"] == shown["stage_left"] == 5.0
    assert "left_low" not in shown


def test_what_is_to_come_is_heard_with_distrust():
    meter = Meter()
    for bad in (None, [1], [["a", [["k", "1", 0, 0]]]]):
        assert not meter.feed(json.dumps({"expect": bad}).encode(), 0.0)
