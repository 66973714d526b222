# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import binom

from radproof.detectors.calibrate import Threshold, Thresholds, calibrate, calibrate_groups, one_per_patient
from radproof.detectors.fitted import fit
from radproof.detectors.one_class import OneClass
from radproof.errors import BadInput

SPLITS = 200


def test_the_order_statistic_by_hand():
    assert calibrate(range(1, 100), false_positive_rate=0.01).value == 99
    assert calibrate(range(1, 20), false_positive_rate=0.05).value == 19
    assert calibrate(range(1, 40), false_positive_rate=0.05).value == 38


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.001, 999)])
def test_refused_below_the_number_that_can_promise_it(rate, needed):
    refused = calibrate(np.arange(needed - 1), false_positive_rate=rate)
    assert refused.value is refused.low is refused.high is None
    assert f"at least {needed} are needed" in refused.reason
    assert calibrate(np.arange(needed), false_positive_rate=rate).value == needed - 1


@dataclass(frozen=True)
class Grain:
    """Two numbers of an image, enough for a real detector."""

    words: tuple[str, ...] = ("differences across", "differences down")

    def __call__(self, look):
        return torch.stack([look.x.diff(dim=3).abs().mean((1, 2, 3)), look.x.diff(dim=2).abs().mean((1, 2, 3))], 1)


@pytest.fixture(scope="module")
def scored(model, pictures):
    """A detector's scores of 900 clean images, and of the same after two changes, one mild and one not."""
    fitted = fit(OneClass(Grain()), model, pictures(100, 0, side=16))
    x = pictures(900, 1, side=16)
    wild = (x + 0.02 * (x.roll(1, 3) - x)).clamp(0, 1)
    return {name: fitted.score(y).numpy() for name, y in {"clean": x, "mild": x.flip(3), "wild": wild}.items()}


@pytest.mark.parametrize(("rate", "n"), [(0.05, 59), (0.2, 30)])
@pytest.mark.parametrize("real", [False, True])
def test_the_achieved_rate_over_random_splits_is_the_promised_one(scored, rate, n, real):
    rng = np.random.default_rng(0)
    achieved = []
    for _ in range(SPLITS):
        scores = rng.permutation(scored["clean"])[: n + 300] if real else rng.exponential(size=n + 300)
        threshold = calibrate(scores[:n], false_positive_rate=rate)
        achieved.append((scores[n:] > threshold.value).mean())
    exact = (n + 1 - math.ceil((n + 1) * (1 - rate))) / (n + 1)
    error = np.std(achieved) / math.sqrt(SPLITS)
    assert exact <= rate
    assert abs(np.mean(achieved) - exact) < 3 * error


def test_each_group_and_each_change_keeps_the_promise(scored):
    rng = np.random.default_rng(1)
    rate, n, total = 0.1, 200, len(scored["clean"])
    kind = np.where(np.arange(total) % 3 == 0, "AP", "PA")
    own = scored["clean"] + 5 * (kind == "AP")  # one threshold for both would flag AP images alone
    table = {"clean": own, "mild": scored["mild"] + 5 * (kind == "AP"), "wild": scored["wild"]}
    achieved = {(change, group): [] for change in table for group in ("AP", "PA")}
    for _ in range(SPLITS):
        order = rng.permutation(total)
        known, rest = order[:n], order[n:]
        found = calibrate_groups(
            {change: scores[known] for change, scores in table.items()},
            dict.fromkeys(table, kind[known]),
            false_positive_rate=rate,
            by="view",
        )
        for change, group in achieved:
            rows = rest[kind[rest] == group]
            achieved[change, group].append((table[change][rows] > found.of(group).value).mean())
    for rates in achieved.values():
        assert np.mean(rates) < rate + 3 * np.std(rates) / math.sqrt(SPLITS)
    # the maximum is no larger than it must be: in each group some change is nearly at its promise
    assert all(max(np.mean(achieved[change, group]) for change in table) > 0.06 for group in ("AP", "PA"))


@pytest.mark.parametrize(("rate", "n"), [(0.05, 59), (0.1, 200)])
def test_the_interval_holds_95_of_100_calibration_sets(rate, n):
    rng = np.random.default_rng(2)
    draws = 2000
    # of uniform scores the achieved rate is known without a test set
    found = [calibrate(rng.uniform(size=n), false_positive_rate=rate) for _ in range(draws)]
    inside = sum(one.low <= 1 - one.value <= one.high for one in found)
    below, above = binom.ppf((0.001, 0.999), draws, 0.95)
    assert below <= inside <= above
    below, above = binom.ppf((0.001, 0.999), draws, 0.025)
    assert below <= sum(1 - one.value > one.high for one in found) <= above


def test_the_bound_of_a_maximum_over_changes_holds_for_each():
    rng = np.random.default_rng(3)
    draws, over = 1000, np.zeros(2)
    for _ in range(draws):
        clean = rng.uniform(size=99)
        found = calibrate_groups({"clean": clean, "jpeg": rng.uniform(size=99)}, false_positive_rate=0.05).of()
        assert found.low == 0
        over += [1 - found.value > found.high] * 2
    assert (over <= binom.ppf(0.999, draws, 0.05)).all()
    alone = calibrate_groups({"clean": clean}, false_positive_rate=0.05).of()
    assert alone == calibrate(clean, false_positive_rate=0.05)


def test_the_largest_threshold_over_changes_is_taken_by_group():
    n = 19
    scores = {"clean": [*range(n), *range(100, 100 + n)], "jpeg": [*range(50, 50 + n), *range(n)]}
    groups = dict.fromkeys(scores, ["a"] * n + ["b"] * n)
    found = calibrate_groups(scores, groups, false_positive_rate=0.05, by="class")
    assert {name: one.value for name, one in found.groups.items()} == {"a": 68, "b": 118}
    assert found.covers == ("clean", "jpeg")
    assert (found.flags(68, "a"), found.flags(68.5, "a"), found.flags(68.5, "b")) == (False, True, False)
    # a changed image may get another answer: then it counts where the model puts it
    moved = {"clean": groups["clean"], "jpeg": ["b"] * 2 * n}
    refused = calibrate_groups(scores, moved, false_positive_rate=0.05, by="class").of("a")
    assert refused.value is None
    assert refused.reason.endswith("(of jpeg)")


def test_a_small_group_is_refused_and_another_keeps_its_promise():
    found = calibrate_groups(
        {"clean": range(30)}, {"clean": ["PA"] * 20 + ["AP"] * 10}, false_positive_rate=0.05, by="view"
    )
    assert found.of("PA").value == 19
    assert found.of("AP").value is None
    assert "10 clean images" in found.of("AP").reason
    unseen = found.of("LL")
    assert unseen.value is None
    assert "no calibration image was of view 'LL'" in unseen.reason
    assert found.flags(1e9, "LL") is None


def test_one_threshold_serves_every_group_where_none_were_asked_for():
    found = calibrate_groups({"clean": range(30)}, false_positive_rate=0.1)
    assert found.of("anything") == found.of()


def test_one_image_per_patient():
    patients = ["a", "a", "b", "", "", "a", "c", "b"]
    kept = one_per_patient(patients, seed=1)
    assert sorted(patients[row] for row in kept) == ["", "", "a", "b", "c"]
    assert {3, 4} <= set(kept)
    assert kept == one_per_patient(patients, seed=1)
    assert len({tuple(one_per_patient(patients, seed=seed)) for seed in range(20)}) > 3
    scores = np.arange(60.0)
    found = calibrate_groups(
        {"clean": scores}, false_positive_rate=0.05, patients=[f"p{row // 3}" for row in range(60)], seed=4
    )
    assert found.of().n == 20


def test_images_of_one_patient_break_the_promise_and_one_of_each_admits_it():
    rng = np.random.default_rng(5)
    rate, patients, images = 0.02, 30, 20  # 600 images could promise 2 %, 30 patients cannot
    named = [str(row) for row in np.repeat(np.arange(patients), images)]
    achieved = []
    for _ in range(SPLITS * 2):
        who = rng.normal(size=patients)  # every patient's own level, which all of its images share
        scores = {"clean": np.repeat(who, images) + 0.01 * rng.normal(size=patients * images)}
        achieved.append((rng.normal(size=400) > calibrate_groups(scores, false_positive_rate=rate).of().value).mean())
    assert np.mean(achieved) > rate + 3 * np.std(achieved) / math.sqrt(len(achieved))
    honest = calibrate_groups(scores, false_positive_rate=rate, patients=named).of()
    assert honest.value is None
    assert "30 clean images" in honest.reason


def test_ties_flag_no_more_than_promised():
    assert (np.zeros(50) > calibrate(np.zeros(50), false_positive_rate=0.05).value).mean() == 0


@pytest.mark.parametrize(
    "wrong", [{"scores": [1.0, math.nan], "false_positive_rate": 0.05}, {"scores": [1.0], "false_positive_rate": 1.0}]
)
def test_refusals(wrong):
    with pytest.raises(BadInput, match=r"NaN|between 0 and 1"):
        calibrate(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": {}},
        {"scores": {"jpeg": [1.0], "clean": [1.0]}},
        {"scores": {"clean": [1.0], "jpeg": [1.0, 2.0]}},
        {"scores": {"clean": [1.0]}, "by": "view"},
        {"scores": {"clean": [1.0]}, "groups": {"clean": ["a"]}},
        {"scores": {"clean": [1.0]}, "groups": {"clean": ["a", "b"]}, "by": "view"},
        {"scores": {"clean": [1.0]}, "patients": ["a", "b"]},
    ],
)
def test_tables_that_do_not_go_together_are_refused(wrong):
    with pytest.raises(BadInput, match=r"scores must be|groups|patients"):
        calibrate_groups(**wrong, false_positive_rate=0.5)


def test_no_images_at_all_promise_nothing():
    assert calibrate_groups({"clean": []}, false_positive_rate=0.05).of().value is None


def test_thresholds_read_back():
    one = calibrate(range(30), false_positive_rate=0.1)
    assert Threshold.model_validate_json(one.model_dump_json()) == one
    many = calibrate_groups({"clean": range(30)}, {"clean": ["x"] * 30}, false_positive_rate=0.1, by="class")
    assert Thresholds.model_validate_json(many.model_dump_json()) == many
