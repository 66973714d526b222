# SPDX-License-Identifier: Apache-2.0
"""What can be told without looking at the lungs: baselines that a network must beat before its figures mean anything.

Logistic regressions, fitted on the train fold and asked about the test fold, from a 16-bin histogram with an 8 x 8
thumbnail, from the view position, from age and sex, and from the size of the file. Whoever compares makes intervals of
their scores. Zech et al., PLoS Medicine 2018; DeGrave et al., Nature Machine Intelligence 2021.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radproof.core.progress import SILENT, Progress
from radproof.data.images import to_unit
from radproof.data.load import read_sample
from radproof.data.manifest import Manifest, Sample
from radproof.data.pool import each
from radproof.errors import BadData

Scores = NDArray[np.float64]
Features = NDArray[np.float64]
BINS, THUMB = 16, 8


def shortcut_scores(manifest: Manifest, *, progress: Progress = SILENT) -> dict[str, Scores]:
    """Probabilities (N, K) for the N images of the test fold, in its order, by baseline.

    `thumbnail`, and, where the source tells more than one value of them, `view`, `age_sex` and `file_size`. Softmax
    heads: rows sum to 1; sigmoid heads: one regression per finding. Raises BadData where the train or test fold is
    empty or the train fold lacks a class.
    """
    train, test = manifest.fold("train"), manifest.fold("test")
    lacking = [label for label, count in train.counts().items() if not count]
    if lacking:
        raise BadData(f"the train fold shows no {', '.join(lacking)}; split again or leave the class out")
    scores: dict[str, Scores] = {}
    for name, describe in _baselines(manifest.root, train.samples, progress).items():
        known, asked = describe(train.samples), describe(test.samples)
        if (known != known[:1]).any():
            scores[name] = _fitted(known, asked, train)
    return scores


def accuracy(scores: Scores, manifest: Manifest) -> float:
    """The share of the test fold that a baseline gets right (of single findings, for sigmoid heads)."""
    truth = manifest.fold("test").targets()
    if manifest.head == "sigmoid":
        return float(((scores > 0.5) == (truth > 0.5)).mean())
    return float((scores.argmax(1) == truth).mean())


def thumbnail_features(sample: Sample, root: Path) -> Features:
    """(80,): the grey-level histogram and an 8 x 8 area average, all that a glance from across the room gives."""
    grey = to_unit(read_sample(sample, root)).mean(0, dtype=np.float32)
    histogram = np.histogram(grey, bins=BINS, range=(0, 1))[0] / grey.size
    small = np.asarray(Image.fromarray(grey).resize((THUMB, THUMB), Image.Resampling.BOX))
    return np.concatenate([histogram, small.ravel()]).astype(np.float64)


def _baselines(
    root: Path, train: Sequence[Sample], progress: Progress
) -> Mapping[str, Callable[[Sequence[Sample]], Features]]:
    ages = [sample.age for sample in train if sample.age is not None]
    usual = float(np.median(ages)) if ages else 0.0

    def glance(samples: Sequence[Sample]) -> Features:
        return np.stack(each(lambda s: thumbnail_features(s, root), samples, stage="thumbnails", progress=progress))

    def view(samples: Sequence[Sample]) -> Features:
        return _one_hot([s.view for s in samples], sorted({s.view for s in train}))

    def age_sex(samples: Sequence[Sample]) -> Features:
        age = [[usual if s.age is None else float(s.age), float(s.age is None)] for s in samples]
        return np.hstack([np.array(age), _one_hot([s.sex for s in samples], sorted({s.sex for s in train}))])

    def file_size(samples: Sequence[Sample]) -> Features:
        return np.log1p([[float(s.size)] for s in samples])

    return {"thumbnail": glance, "view": view, "age_sex": age_sex, "file_size": file_size}


def _one_hot(values: Sequence[str], known: Sequence[str]) -> Features:
    return np.array([[float(value == name) for name in known] for value in values])


def _fitted(known: Features, asked: Features, train: Manifest) -> Scores:
    truth = train.targets()
    if train.head == "softmax":
        return _regression(known, asked, truth)
    return np.stack([_positive(known, asked, truth[:, k] > 0.5) for k in range(truth.shape[1])], 1)


def _positive(known: Features, asked: Features, shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The probability of a finding; a finding that every image shows needs no regression."""
    return np.ones(len(asked)) if shown.all() else _regression(known, asked, shown)[:, 1]


def _regression(known: Features, asked: Features, truth: NDArray[np.generic]) -> Scores:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return np.asarray(model.fit(known, truth).predict_proba(asked), dtype=np.float64)
