# SPDX-License-Identifier: Apache-2.0
"""A few images that were fooled, as pictures: original, attacked, defended, difference, and where the model looked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radproof.assess.answers import Answered
from radproof.assess.material import Material
from radproof.assess.result import Picture
from radproof.assess.views import cleaned, explained, levels
from radproof.core.depth import EIGHT
from radproof.core.params import show_fraction
from radproof.core.rng import generator
from radproof.data.storage import read_png, to_unit_tensor, write_png
from radproof.measure.calibration import probabilities
from radproof.models.classifier import ImageClassifier

FOLDER = "gallery"


def pictures(found: Sequence[Answered], material: Material, root: Path) -> tuple[Picture, ...]:
    """Up to plan.gallery pictures: the smallest budgets first, attacks and classes in turn."""
    if material.manifest.head != "softmax":
        return ()
    clean = next(a for a in found if a.job.kind == "clean" and a.defense == "none")
    chosen = _choose(found, material)
    return tuple(_picture(n, a, place, clean, material, root) for n, (a, place) in enumerate(chosen))


def _choose(found: Sequence[Answered], material: Material) -> list[tuple[Answered, int]]:
    made = [a for a in found if a.column == "oblivious" and a.defense == "none" and a.job.goal == "misclassify"]
    made.sort(key=lambda a: a.job.eps)
    y = material.y.cpu().numpy()
    chosen: list[tuple[Answered, int]] = []
    shown: set[int] = set()
    turn = 0
    while made and len(chosen) < material.plan.gallery and turn < 4 * material.plan.gallery:
        a = made[turn % len(made)]
        wanted = turn % len(material.manifest.labels)
        fooled = [p for p in np.flatnonzero(a.clean_right & a.reached).tolist() if int(a.rows[p]) not in shown]
        fooled.sort(key=lambda place: (int(y[a.rows[place]]) != wanted, -float(a.clean_confidence[place])))
        if fooled:
            chosen.append((a, fooled[0]))
            shown.add(int(a.rows[fooled[0]]))
        turn += 1
    return chosen


def _picture(n: int, a: Answered, place: int, clean: Answered, material: Material, root: Path) -> Picture:
    row = int(a.rows[place])
    model, labels = material.model, material.manifest.labels
    original = material.images([row])
    depth = material.depths[row]
    ints = read_png(root / a.files[place], depth, channels=original.shape[1])[None]
    attacked = to_unit_tensor(ints, depth).to(material.device)
    truth = material.y[[row]]
    before, after = clean.logits[int(np.flatnonzero(clean.rows == row)[0])], a.logits[place]
    views = {
        "original": original,
        "attacked": attacked,
        "difference": _difference(attacked, original, a.job.eps),
    }
    if isinstance(model, ImageClassifier):  # one that only answers shows no feature maps
        views["cam_before"] = explained(model, original, truth)
        views["cam_after"] = explained(model, attacked, torch.as_tensor([after.argmax()]))
    answer: str | None = None
    confidence: float | None = None
    name = next((label for label, c in material.contenders.items() if c.defense and c.network is model), None)
    if name:
        defense = material.contenders[name].defense
        assert defense is not None
        defended = cleaned(defense, attacked, generator(material.plan.seed, "gallery", n, device=material.device))
        views["defended"] = defended
        with torch.no_grad():
            answer, confidence = _said(model(defended)[0].double().cpu().numpy(), labels)
    files: dict[str, str] = {}
    for kind, image in views.items():
        files[kind] = f"{FOLDER}/{n:02d}-{kind}.png"
        write_png(root / files[kind], levels(image), EIGHT)
    clean_answer, clean_confidence = _said(before, labels)
    attacked_answer, attacked_confidence = _said(after, labels)
    return Picture(
        sample=material.test.samples[row].id,
        truth=labels[int(truth)],
        attack=a.job.label,
        budget=show_fraction(a.job.eps),
        clean_answer=clean_answer,
        clean_confidence=clean_confidence,
        attacked_answer=attacked_answer,
        attacked_confidence=attacked_confidence,
        defended_answer=answer,
        defended_confidence=confidence,
        defense=name,
        files=files,
    )


def _difference(attacked: Tensor, original: Tensor, eps: float) -> Tensor:
    """Grey where nothing changed; black and white at the budget, or at the largest change where there is none."""
    change = attacked - original
    most = eps or float(change.abs().max()) or 1.0
    return (change * (0.5 / most) + 0.5).clamp(0, 1)


def _said(logits: np.ndarray, labels: Sequence[str]) -> tuple[str, float]:
    p = probabilities(logits[None], "softmax")[0]
    return labels[int(p.argmax())], round(float(p.max()), 6)
