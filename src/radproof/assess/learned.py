# SPDX-License-Identifier: Apache-2.0
"""Detectors that are also trained with attacks, and judged on the attacks that they never saw.

A logistic regression over what a detector measures of clean and of attacked images. These are of one half of the
validation patients, since of training images the one-class part has seen too much; the other half sets the conformal
threshold. Every attack is left out once, and each is also the only one to be trained with.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from radproof.assess.answers import Answered, Floats
from radproof.assess.craft import as_read_back, suspicions
from radproof.assess.jobs import Job
from radproof.assess.material import Material, batch_generator
from radproof.assess.result import LearnedRow
from radproof.assess.sections import LearnedPlan
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Arrays, Workspace
from radproof.attacks.metered import Metered
from radproof.core.goals import goal as make_goal
from radproof.core.progress import Progress
from radproof.data.load import grids, load_batch
from radproof.data.manifest import Manifest
from radproof.data.subsets import take
from radproof.detectors.calibrate import calibrate

CLEAN, CALIBRATION = "clean", "calibration"
_STRENGTH = 0.1  # C of the regression: measurements are many and go together


def run_learned(material: Material, space: Workspace, progress: Progress) -> None:
    """Measure clean and attacked validation images, batch by batch."""
    plan = material.plan.detection.learned
    if plan is None or not material.detectors:
        return
    sets = dict(_sets(material, plan))
    batch = material.plan.batch
    progress.start("learned", sum(len(images) for images, _ in sets.values()))
    for name, (images, made) in sets.items():
        for number, start in enumerate(range(0, len(images), batch)):
            part = images.samples[start : start + batch]
            if not space.has(f"learned_{name}", number):
                x = load_batch(images, part, material.device)
                y = torch.as_tensor(images.only(part).targets()).to(material.device)
                space.save(f"learned_{name}", number, _measured(material, made(x, y, number)))
            progress.advance("learned", len(part))


def read_learned(material: Material, space: Workspace) -> dict[str, dict[str, Floats]]:
    """By detector and set, measurements (N, F)."""
    plan = material.plan.detection.learned
    found: dict[str, dict[str, Floats]] = {name: {} for name in material.detectors}
    if plan is None:
        return found
    for name, (images, _) in _sets(material, plan):
        numbers = range(-(-len(images) // material.plan.batch))
        stored = [space.load(f"learned_{name}", number) for number in numbers]
        for detector in material.detectors:
            found[detector][name] = np.concatenate([a[f"measured:{detector}"] for a in stored])
    return found


def learned_rows(
    training: Mapping[str, Floats],
    clean: Answered,
    attacked: Sequence[Answered],
    detector: str,
    measurer: Measurer,
    *,
    rate: float,
) -> tuple[LearnedRow, ...]:
    """Each attack left out, and each alone; judged on successful test images of attacks not trained with."""
    names = [name for name in training if name not in (CLEAN, CALIBRATION)]
    groups = dict.fromkeys((*(tuple(n for n in names if n != left) for left in names), *((name,) for name in names)))
    found: list[LearnedRow] = []
    for group in groups:
        judge = _trained(training[CLEAN], np.concatenate([training[name] for name in group]))
        threshold = calibrate(judge(training[CALIBRATION]), false_positive_rate=rate).value
        for a in attacked:
            if a.job.label not in group and threshold is not None:
                found.append(_row(group, a, clean, detector, judge, threshold, measurer))
    return tuple(found)


def _row(
    group: tuple[str, ...],
    a: Answered,
    clean: Answered,
    detector: str,
    judge: Callable[[Floats], Floats],
    threshold: float,
    measurer: Measurer,
) -> LearnedRow:
    usual, scores = judge(clean.measured[detector]), judge(a.measured[detector])
    fooled = a.clean_right & a.reached
    both = measurer.of_patients([measurer.patient(int(row)) for row in (*clean.rows, *a.rows)])
    positive = np.concatenate([np.zeros(len(usual), bool), fooled])
    counted = np.concatenate([np.ones(len(usual), bool), fooled])
    return LearnedRow(
        trained_with=group,
        attack=a.job.label,
        budget=a.job.budget,
        auroc=both.auroc(np.concatenate([usual, scores]), positive, counted),
        detected=measurer.resampler(a.rows).mean(scores > threshold, fooled),
    )


def _trained(clean: Floats, attacked: Floats) -> Callable[[Floats], Floats]:
    x = np.concatenate([clean, attacked])
    y = np.concatenate([np.zeros(len(clean)), np.ones(len(attacked))])
    regression = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=2000)
    fitted: Pipeline = make_pipeline(StandardScaler(), regression).fit(np.log1p(np.abs(x)) * np.sign(x), y)
    return lambda table: fitted.decision_function(np.log1p(np.abs(table)) * np.sign(table))


Made = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


def _sets(material: Material, plan: LearnedPlan) -> list[tuple[str, tuple[Manifest, Made]]]:
    """Images to measure, and what to make of them first."""
    validation = material.manifest.fold("validation")
    patients = sorted({sample.patient or sample.id for sample in validation.samples})
    half = set(patients[::2])
    taught = validation.only(s for s in validation.samples if (s.patient or s.id) in half)
    calibration = validation.only(s for s in validation.samples if (s.patient or s.id) not in half)
    some = take(taught, min(plan.images, len(taught)), seed=material.plan.seed)
    bits = min(grid[-1] for grid in grids(some.samples, some.root))

    def crafted(label: str) -> Made:
        part = material.parts.learned[label]

        def make(x: torch.Tensor, y: torch.Tensor, number: int) -> torch.Tensor:
            job = Job("attack", label, part.params, "misclassify", plan.eps, threat=part.recipe.threat)
            goal = make_goal("misclassify", y, material.manifest.labels, material.manifest.head)
            attack = part.make(eps=plan.eps, **material.aids.bindings(part.recipe.needs, [0]))
            rng = batch_generator(material, "learned", *job.identity(), number)
            return as_read_back(attack(Metered(material.model), x, goal, rng=rng), x, job, bits)

        return make

    plain: Made = lambda x, y, number: x  # noqa: E731
    return [
        (CLEAN, (some, plain)),
        (CALIBRATION, (calibration, plain)),
        *((label, (some, crafted(label))) for label in material.parts.learned),
    ]


def _measured(material: Material, x: torch.Tensor) -> Arrays:
    return {name: table for name, table in suspicions(material, x).items() if name.startswith("measured:")}
