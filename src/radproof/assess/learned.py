# SPDX-License-Identifier: Apache-2.0
"""Detectors that are also trained with attacks, and judged on the attacks that they never saw.

A logistic regression over what a detector measures of clean and of attacked images. These are of one half of the
validation patients, since of training images the one-class part has seen too much; the other half sets the conformal
threshold. Where the one-class detector promises its rate for harmless changes too, so does this one: it learns from
clean images after these, and the largest of their thresholds counts. Every attack is left out once, and each is also
the only one to be trained with. An attack was seen where one of the same recipe was, whatever its parameters.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from radproof.assess.answers import Answered, Floats
from radproof.assess.detected import LearnedRow
from radproof.assess.learned_images import CALIBRATION, HARMLESS, lessons
from radproof.assess.material import Material
from radproof.assess.scoring import suspicions
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Arrays, Workspace
from radproof.core.progress import Progress
from radproof.core.records import Estimate
from radproof.core.registry import split_name
from radproof.data.load import load_batch
from radproof.detectors.calibrate import CLEAN, Threshold, calibrate_groups

_STRENGTH = 0.1  # C of the regression: measurements are many and go together
_REFUSED = Estimate(value=None, low=None, high=None, method="no threshold", n=0)
Judge = Callable[[Floats], Floats]


def run_learned(material: Material, space: Workspace, progress: Progress) -> None:
    """Measure clean and attacked validation images, batch by batch."""
    plan = material.plan.detection.learned
    if plan is None or not material.detectors:
        return
    found = lessons(material, plan)
    batch = material.plan.batch
    todo = [
        (name, lesson, number, lesson.images.samples[start : start + batch])
        for name, lesson in found.items()
        for number, start in enumerate(range(0, len(lesson.images), batch))
        if not space.has(f"learned_{name}", number)
    ]
    progress.start("learned", sum(len(part) for *_, part in todo))
    for name, lesson, number, part in todo:
        x = load_batch(lesson.images, part, material.device)
        y = torch.as_tensor(lesson.images.only(part).targets()).to(material.device)
        space.save(f"learned_{name}", number, _measured(material, lesson.make(x, y, number)))
        progress.advance("learned", len(part))


def read_learned(material: Material, space: Workspace) -> dict[str, dict[str, Floats]]:
    """By detector and set, measurements (N, F); a set without images is left out."""
    plan = material.plan.detection.learned
    found: dict[str, dict[str, Floats]] = {name: {} for name in material.detectors}
    if plan is None or not found:
        return found
    for name, lesson in lessons(material, plan).items():
        numbers = range(-(-len(lesson.images) // material.plan.batch))
        stored = [space.load(f"learned_{name}", number) for number in numbers]
        for detector in material.detectors if stored else ():
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
    found: list[LearnedRow] = []
    for group in _groups([name for name in training if not _harmless(name)]):
        seen = {_recipe(label) for label in group}
        unseen = [a for a in attacked if _recipe(a.job.label) not in seen]
        if unseen:
            usual = [training[name] for name in (CLEAN, HARMLESS) if name in training]
            judge = _trained(np.concatenate(usual), np.concatenate([training[name] for name in group]))
            threshold = _threshold(judge, training, rate)
            found += [_row(group, a, clean, detector, judge, threshold, measurer) for a in unseen]
    return tuple(found)


def _harmless(name: str) -> bool:
    return name in (CLEAN, HARMLESS) or name.startswith(CALIBRATION)


def _recipe(label: str) -> str:
    """'pgd' of 'pgd(steps=40)', 'stm' of 'stm[acquisition]'."""
    return split_name(label.partition("(")[0])[0]


def _groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """What to train with: all but those of one recipe, and each by itself."""
    recipes = dict.fromkeys(map(_recipe, names))
    others = (tuple(name for name in names if _recipe(name) != left) for left in recipes)
    return [group for group in dict.fromkeys((*others, *((name,) for name in names))) if group]


def _threshold(judge: Judge, training: Mapping[str, Floats], rate: float) -> Threshold:
    """The largest over clean images and each harmless change of them, as of a one-class detector."""
    there = {name: table for name, table in training.items() if name.startswith(CALIBRATION) and len(table)}
    scores = {name.removeprefix(CALIBRATION): judge(table) for name, table in there.items()} or {CLEAN: np.zeros(0)}
    return calibrate_groups(scores, false_positive_rate=rate).of("")


def _row(
    group: tuple[str, ...],
    a: Answered,
    clean: Answered,
    detector: str,
    judge: Judge,
    threshold: Threshold,
    measurer: Measurer,
) -> LearnedRow:
    about = {"trained_with": group, "attack": a.job.label, "budget": a.job.budget}
    if threshold.value is None:
        return LearnedRow.model_validate({**about, "auroc": _REFUSED, "detected": _REFUSED, "reason": threshold.reason})
    usual, scores = judge(clean.measured[detector]), judge(a.measured[detector])
    fooled = a.clean_right & a.reached
    both = measurer.of_patients([measurer.patient(int(row)) for row in (*clean.rows, *a.rows)])
    positive = np.concatenate([np.zeros(len(usual), bool), fooled])
    counted = np.concatenate([np.ones(len(usual), bool), fooled])
    figures = {
        "auroc": both.auroc(np.concatenate([usual, scores]), positive, counted),
        "detected": measurer.resampler(a.rows).mean(scores > threshold.value, fooled),
        "achieved": measurer.resampler(clean.rows).mean(usual > threshold.value),
    }
    return LearnedRow.model_validate({**about, **figures})


def _trained(clean: Floats, attacked: Floats) -> Judge:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([clean, attacked])
    y = np.concatenate([np.zeros(len(clean)), np.ones(len(attacked))])
    regression = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=2000)
    fitted: Pipeline = make_pipeline(StandardScaler(), regression).fit(np.log1p(np.abs(x)) * np.sign(x), y)
    return lambda table: fitted.decision_function(np.log1p(np.abs(table)) * np.sign(table))


def _measured(material: Material, x: torch.Tensor) -> Arrays:
    return {name: table for name, table in suspicions(material, x).items() if name.startswith("measured:")}
