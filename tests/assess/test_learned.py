# SPDX-License-Identifier: Apache-2.0
"""Detectors also trained with attacks: what they learn from, what their threshold covers, which attacks they saw."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from radproof.assess import learned_images
from radproof.assess.answers import Answered
from radproof.assess.detected import LearnedRow
from radproof.assess.jobs import Job
from radproof.assess.learned import learned_rows
from radproof.assess.learned_images import CHANGED, in_turns, lessons
from radproof.assess.parts import settle_all
from radproof.assess.plan_checks import check_learned
from radproof.assess.sections import DetectionPlan, Part
from radproof.assess.summary import Measurer
from radproof.attacks import attack
from radproof.core.depth import EIGHT, Depth
from radproof.core.params import show_fraction
from radproof.core.registry import named
from radproof.detectors.benign import Handling, benign
from radproof.errors import BadPlan, NoGradient

N = 40


def table(centre, n=N, seed=0):
    """Measurements that tell attacked from clean along the first axis."""
    return np.random.default_rng(seed).normal(size=(n, 3)) + np.array([centre, 0.0, 0.0])


def answered(label, centre, *, kind="attack", seed=0):
    yes = np.ones(N, bool)
    return Answered(
        job=Job(kind, label, {}, eps=4 / 255),
        defense="none",
        column="oblivious",
        rows=np.arange(N),
        logits=np.zeros((N, 2)),
        right=yes,
        confidence=np.ones(N),
        clean_right=yes,
        clean_confidence=np.ones(N),
        reached=yes,
        measured={"d": table(centre, seed=seed)},
    )


@pytest.fixture
def measurer():
    samples = [SimpleNamespace(patient=f"p{n}", id=f"i{n}") for n in range(N)]
    plan = SimpleNamespace(bootstrap=50, seed=0, confidence=0.95)
    return Measurer(SimpleNamespace(plan=plan, test=SimpleNamespace(samples=samples)))


def rows(measurer, *labels, training=None, rate=0.1, tested=("fgsm", "pgd"), calibration=N):
    usual = {
        "clean": table(2, seed=1),
        "calibration-clean": table(2, calibration, seed=2),
        **{label: table(6, seed=3) for label in labels},
    }
    clean = answered("none", 2, kind="clean", seed=4)
    attacked = [answered(label, 6, seed=5) for label in tested]
    return learned_rows({**usual, **(training or {})}, clean, attacked, "d", measurer, rate=rate)


def told(found):
    return [(row.trained_with, row.attack) for row in found]


def test_false_alarms_are_counted_on_clean_test_images(measurer):
    (row, _) = rows(measurer, "fgsm", "pgd")
    clean, known = table(2, seed=4), table(2, seed=2)
    assert row.budget == show_fraction(4 / 255)
    assert row.reason == ""
    assert row.achieved.n == N
    # The first axis alone says nearly all: the share of clean test images above the calibration's own 37th of 40.
    beside = (clean[:, 0] > np.sort(known[:, 0])[36]).mean()
    assert row.achieved.value == pytest.approx(beside, abs=0.06)
    assert row.detected.value > 0.9


def test_the_threshold_is_the_largest_over_harmless_changes(measurer):
    plain, _ = rows(measurer, "fgsm", "pgd")
    hard, _ = rows(measurer, "fgsm", "pgd", training={"calibration-jpeg": table(20, seed=6)})
    easy, _ = rows(measurer, "fgsm", "pgd", training={"calibration-jpeg": table(-1, seed=6)})
    assert hard.achieved.value == 0
    assert hard.detected.value == 0
    assert easy == plain
    assert hard.auroc == plain.auroc  # the threshold alone has moved


def test_clean_images_after_changes_are_learned_from_as_clean(measurer):
    """What only the harmless change does is no sign of an attack then."""
    attacked = np.concatenate([table(6, seed=3)[:, :1], 4 + table(0, seed=3)[:, 1:]], axis=1)
    harmless = np.concatenate([table(2, seed=7)[:, :1], 4 + table(0, seed=7)[:, 1:]], axis=1)
    alike = {"fgsm": attacked, "pgd": attacked, "calibration-jpeg": harmless}
    without, _ = rows(measurer, "fgsm", "pgd", training=alike)
    learned, _ = rows(measurer, "fgsm", "pgd", training={**alike, "harmless": harmless})
    assert learned.detected.value > without.detected.value + 0.3


def test_too_small_a_calibration_is_told_and_has_no_figures(measurer):
    found = rows(measurer, "fgsm", "pgd", calibration=8)
    assert told(found) == [(("pgd",), "fgsm"), (("fgsm",), "pgd")]
    for row in found:
        assert row.reason == "8 clean images cannot promise a false-positive rate of 10 %: at least 9 are needed"
        assert (row.detected.value, row.auroc.value, row.achieved) == (None, None, None)
    without = rows(measurer, "fgsm", "pgd", training={"calibration-clean": np.zeros((0, 3))}, calibration=9)
    assert without[0].reason.startswith("0 clean images")


def test_an_attack_with_other_parameters_was_seen(measurer):
    labels = ("fgsm", "pgd(steps=2)", "stm[acquisition]")
    found = told(rows(measurer, *labels, tested=("pgd", "pgd(steps=40)", "stm", "fgsm")))
    for group, label in found:
        assert label.split("(")[0] not in {name.split("(")[0].split("[")[0] for name in group}
    assert (("fgsm", "stm[acquisition]"), "pgd") in found
    assert (("fgsm", "stm[acquisition]"), "pgd(steps=40)") in found
    assert (("pgd(steps=2)",), "stm") in found


def test_attacks_of_one_recipe_are_left_out_together(measurer):
    found = told(rows(measurer, "pgd(steps=2)", "pgd(steps=9)", "fgsm"))
    assert found == [
        (("fgsm",), "pgd"),
        (("pgd(steps=2)", "pgd(steps=9)"), "fgsm"),
        (("pgd(steps=2)",), "fgsm"),
        (("pgd(steps=9)",), "fgsm"),
    ]
    assert told(rows(measurer, "pgd(steps=2)", "pgd(steps=9)", tested=("pgd",))) == []


def test_rows_of_older_results_are_read(measured):
    old = {"trained_with": ("pgd",), "attack": "fgsm", "budget": "4/255", "auroc": measured(0.9)}
    row = LearnedRow.model_validate({**old, "detected": measured(0.5)})
    assert (row.achieved, row.reason) == (None, "")


def test_each_image_goes_through_one_change_in_turns_across_batches():
    changes = [Handling(str(k), "", lambda x, depth, k=k: x + k / depth.top) for k in (1, 2, 3)]
    x = torch.zeros(7, 1, 2, 2)
    whole = in_turns(x, changes, Depth(8), 0)
    assert (8 * whole[:, 0, 0, 0]).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert torch.equal(torch.cat([in_turns(x[:4], changes, Depth(8), 0), in_turns(x[4:], changes, Depth(8), 4)]), whole)
    assert x.abs().sum() == 0


PLAN = {"attacks": ["fgsm", {"name": "pgd", "steps": 2}], "images": 20}


def taught(patches, *, names=("fgsm",), **detection):
    """Opened material whose plan trains detectors with attacks."""
    plan = patches.plan.model_copy(update={"detection": DetectionPlan.model_validate({"learned": PLAN, **detection})})
    settled = settle_all([Part.model_validate(named(name)) for name in names], attack, "quick")
    return replace(patches, plan=plan, parts=replace(patches.parts, learned=settled))


def test_who_is_learned_from_sets_no_threshold_and_patients_count_once(patches):
    validation = patches.manifest.fold("validation")
    pairs = [replace(sample, patient=f"q{n // 4}") for n, sample in enumerate(validation.samples)]
    others = [sample for sample in patches.manifest.samples if sample.fold != "validation"]
    material = taught(replace(patches, manifest=patches.manifest.only([*others, *pairs])))
    found = lessons(material, material.plan.detection.learned)
    changes = [change.name for change in benign(EIGHT)]
    assert list(found) == ["clean", "harmless", "calibration-clean", *(f"calibration-{c}" for c in changes), "fgsm"]
    learned, calibration = ({s.patient for s in found[name].images.samples} for name in ("clean", "calibration-clean"))
    assert not learned & calibration
    assert learned | calibration == {sample.patient for sample in pairs}
    for name in ("calibration-clean", "calibration-noise"):
        assert len(found[name].images) == len(calibration)
    assert found["harmless"].images == found["clean"].images


def test_calibration_is_capped_where_every_change_costs_passes(patches, monkeypatch):
    monkeypatch.setattr(learned_images, "CHANGED", 5)
    assert CHANGED == 60

    def number(rate, **detection):
        material = taught(patches, **detection)
        material.plan = material.plan.model_copy(update={"false_positive_rate": rate})
        return len(lessons(material, material.plan.detection.learned)["calibration-clean"].images)

    half = len(patches.manifest.fold("validation")) // 2
    assert half > 10
    assert number(0.2) == 5
    assert number(0.1) == 10  # as many as the promise asks for
    assert number(0.2, benign=False) == half
    assert number(0.2, benign=False, calibration=7) == 7


def images(material, number=4):
    part = material.manifest.fold("validation")
    x = torch.rand(number, 1, 32, 32, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    return part, x, torch.zeros(number, dtype=torch.long)


def test_where_there_is_nothing_to_climb_images_stay(patches, monkeypatch):
    def flat(self, *given, **more):
        raise NoGradient("flat")

    material = taught(patches)
    monkeypatch.setattr(type(material.parts.learned["fgsm"].make(eps=0.1)), "__call__", flat)
    _, x, y = images(material)
    assert torch.allclose(lessons(material, material.plan.detection.learned)["fgsm"].make(x, y, 0), x, atol=1e-6)


def test_out_of_memory_halves_the_micro_batch(patches, monkeypatch):
    tried = []

    def hungry(self, model, x, goal, *, rng):
        tried.append(model.micro_batch)
        if model.micro_batch > 16:
            raise torch.OutOfMemoryError
        return x + 1

    material = taught(patches)
    monkeypatch.setattr(type(material.parts.learned["fgsm"].make(eps=0.1)), "__call__", hungry)
    _, x, y = images(material)
    made = lessons(material, material.plan.detection.learned)["fgsm"].make(x, y, 0)
    assert tried == [64, 32, 16]
    assert 0 < float((made - x).abs().max()) <= 4 / 255 + 1e-6


def test_attacks_with_other_needs_and_other_limits_are_made(patches):
    material = taught(patches, names=("patch", {"name": "universal", "epochs": 1}))
    _, x, y = images(material, 2)
    found = lessons(material, material.plan.detection.learned)
    painted = (found["patch[border]"].make(x, y, 0) - x).abs()
    assert float(painted.max()) > 4 / 255  # a patch has no budget
    assert float((found["universal"].make(x, y, 0) - x).abs().max()) <= 4 / 255 + 1e-6


def test_validation_patients_who_are_assessed_teach_nothing(patches):
    material = taught(patches)
    parts = replace(material.parts, detectors={"d": None})
    data = material.plan.data.model_copy(update={"fold": "validation"})
    check_learned(material.plan, parts)
    with pytest.raises(BadPlan, match="uses validation patients, which this plan assesses; leave it out, or assess"):
        check_learned(material.plan.model_copy(update={"data": data}), parts)
