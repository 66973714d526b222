# SPDX-License-Identifier: Apache-2.0
"""What can be predicted without looking at a lung: the figures that a network has to clear."""

from dataclasses import replace

import numpy as np

from radproof.assess.result import Shortcut
from radproof.data.manifest import Manifest
from radproof.data.shortcuts import shortcut_scores
from radproof.data.splits import patient_of
from radproof.errors import BadData
from radproof.measure.classification import describe
from radproof.measure.intervals import Resampler

TINY = 1e-9


def shortcuts(manifest: Manifest, test: Manifest, resampler: Resampler) -> tuple[Shortcut, ...]:
    """What baselines that never see a lung answer to the test images, scored exactly as a model is.

    Without a training fold there is nothing to fit them on, and the answer is empty.
    """
    train = tuple(sample for sample in manifest.samples if sample.fold == "train")
    if not train:
        return ()
    found: list[Shortcut] = []
    try:
        scored = shortcut_scores(manifest.only((*train, *test.samples)))
    except BadData:  # a fold without some class has nothing to tell
        return ()
    for name, p in sorted(scored.items()):
        odds = np.log(np.clip(p, TINY, 1)) - (np.log(np.clip(1 - p, TINY, 1)) if manifest.head == "sigmoid" else 0)
        told = describe(odds, test.targets(), resampler, manifest.labels, manifest.head)
        found.append(Shortcut(name=name, auroc=told["macro_auroc"], accuracy=told["accuracy"]))
    return tuple(found)


def card_shortcuts(manifest: Manifest) -> dict[str, float]:
    """The baselines' AUROC from the training to the validation fold: what a model card sets beside its own."""
    validation = tuple(replace(s, fold="test") for s in manifest.samples if s.fold == "validation")
    if not validation:
        return {}
    test = manifest.only(validation)
    found = shortcuts(manifest, test, Resampler([patient_of(sample) for sample in validation], draws=1))
    return {shortcut.name: round(shortcut.auroc.value, 4) for shortcut in found if shortcut.auroc.value is not None}
