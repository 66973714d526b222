# SPDX-License-Identifier: Apache-2.0
"""A whole run is foretold by counted passes and the pace learnt so far; the clock is the test's own."""

import json

import pytest

from radproof.core.progress import Silent, expect, heard, told
from radproof.core.whole import Left, Piece, Stage, Whole, lasting, spoken

PLAN = (
    Stage("attacks", (Piece("clean", 100), Piece("adaptive", 900))),
    Stage("checks", (Piece("probes", 500),)),
    Stage("summary", (Piece("summary", 10, pace=1.0),)),
)


def begun() -> Whole:
    whole = Whole()
    whole.expect(())
    whole.expect(PLAN)
    return whole


def test_nothing_is_foretold_before_enough_was_done():
    whole = Whole()
    assert not whole.known and whole.left is None and whole.share == 0
    whole = begun()
    whole.start("attacks", 1000, 0.0)
    whole.advance("attacks", 100, 2.0)
    assert whole.left is None and whole.share > 0


def test_time_left_is_that_of_every_stage_to_come_at_the_pace_of_its_kind():
    whole = begun()
    whole.start("attacks", 1000, 0.0)
    for done in range(100, 601, 100):
        whole.advance("attacks", done, done / 10)  # a tenth of a second per pass
    left = whole.left
    assert left is not None
    assert left.seconds == pytest.approx(40 + 50 + 10, rel=0.01)  # probes were not met yet: as fast as the others
    assert left.low == pytest.approx(40 / 1.1 + 50 / 2 + 10 / 2, rel=0.01)
    assert left.high == pytest.approx(40 * 1.1 + 50 * 2 + 10 * 2, rel=0.01)
    whole.start("checks", 7, 100.0)
    for batch in range(1, 6):
        whole.advance("checks", batch, 100.0 + 2 * batch)  # far quicker than attacks
    left = whole.left
    assert left is not None and left.seconds == pytest.approx(4 + 10, rel=0.01)
    assert left.low < left.seconds < left.high


def test_the_share_never_falls_and_ends_at_one():
    whole, shares, at = begun(), [], 0.0
    for stage, steps, slow in (("attacks", 10, 0.1), ("checks", 5, 9.0), ("summary", 1, 0.5)):
        whole.start(stage, steps, at)
        for step in range(1, steps + 1):
            at += slow
            whole.advance(stage, step, at)
            shares.append(whole.share)
    assert shares == sorted(shares) and shares[-1] == 1.0 and whole.left == Left(0, 0, 0)
    whole.expect((Stage("more", (Piece("more", 1e6),)),))
    assert whole.share == 1.0


def test_what_an_earlier_start_did_counts_as_done_and_teaches_no_pace():
    whole = Whole()
    whole.expect((Stage("attacks", (Piece("clean", 0, before=300), Piece("adaptive", 100, before=600))),))
    assert whole.share == pytest.approx(0.9)
    whole.start("attacks", 50, 10.0)
    whole.advance("attacks", 25, 15.0)
    left = whole.left
    assert left is not None and left.seconds == pytest.approx(5.0) and whole.share == pytest.approx(0.95)


def test_a_stage_that_was_left_out_or_ended_early_is_over_when_a_later_one_begins():
    whole = begun()
    whole.start("attacks", 10, 0.0)
    whole.advance("attacks", 5, 5.0)
    whole.start("summary", 1, 5.0)
    left = whole.left
    assert left is not None and left.seconds == pytest.approx(10.0)


def test_the_same_stage_twice_is_two_stages_and_one_that_nobody_expected_is_none():
    whole = Whole()
    whole.expect(tuple(Stage("training", (Piece("training", 100),)) for _ in range(2)))
    for start in (0.0, 10.0):
        whole.start("training", 10, start)
        whole.advance("training", 10, start + 10)
        whole.start("unpack", 5, start + 10)
        whole.advance("unpack", 5, start + 99)
        assert whole.share == pytest.approx(0.5 if not start else 1.0)


def test_a_stage_begun_again_goes_on_and_steps_back_are_nothing():
    whole = begun()
    whole.start("attacks", 10, 0.0)
    whole.advance("attacks", 5, 5.0)
    before = whole.share
    whole.advance("attacks", 3, 6.0)
    whole.start("attacks", 10, 6.0)
    assert whole.share == before
    whole.advance("attacks", 10, 11.0)
    left = whole.left
    assert left is not None and left.seconds == pytest.approx(500 * 0.01 + 10, rel=0.2)


def test_uneven_work_has_a_wide_range_and_even_work_a_narrow_one():
    def width(paces: list[float]) -> float:
        whole, at = Whole(), 0.0
        whole.expect((Stage("a", (Piece("a", 1000),)),))
        whole.start("a", 100, at)
        for step in range(1, 41):
            at += paces[step % len(paces)]
            whole.advance("a", step, at)
        left = whole.left
        assert left is not None
        return left.high / left.low

    assert width([1.0]) == pytest.approx(1.21, rel=0.01) and width([1.0, 4.0]) > 3


def test_the_words_for_people():
    assert spoken(Left(360, 240, 600)) == "about 6 min left (4 min to 10 min)"
    assert [lasting(s) for s in (0, 40, 90, 7500)] == ["1 s", "40 s", "2 min", "2 h 5 min"]


def test_stages_travel_as_json_and_nothing_else_is_believed():
    assert heard(json.loads(json.dumps(told(PLAN)))) == PLAN
    for bad in (
        None, {}, [1], [["a"]], [["a", 1]], [["a", [1]]], [["a", [["k", 1, 0]]]], [["a", [["k", -1, 0, 0]]]],
        [["a", [["k", True, 0, 0]]]], [["a", [["k", float("nan"), 0, 0]]]], [["a" * 101, []]], [["a", []]] * 201,
        [["a", [["k", 1e300, 0, 0]]]],
    ):  # fmt: skip
        assert heard(bad) is None, bad
    expect(Silent(), PLAN)  # one that does not listen is not asked to
