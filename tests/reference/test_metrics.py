# SPDX-License-Identifier: Apache-2.0
"""Scores against scikit-learn, image distances against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn import metrics

from radproof.measure.classification import describe
from radproof.measure.images import psnr, ssim
from radproof.measure.intervals import Resampler

LABELS = ("Normal", "Pneumonia", "Pneumothorax", "Absent")


@pytest.mark.parametrize("seed", [0, 1])
def test_softmax_scores_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 90)
    logits = rng.normal(size=(90, 4)) + 1.2 * np.eye(4)[y]
    logits[:, 3] -= 3
    found = describe(logits, y, Resampler([str(i) for i in range(90)], draws=50), LABELS, "softmax")
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    answer = logits.argmax(1)
    present = {"labels": [0, 1, 2], "average": "macro", "zero_division": 0}
    expected = {
        "accuracy": metrics.accuracy_score(y, answer),
        "balanced_accuracy": metrics.recall_score(y, answer, **present),
        "macro_precision": metrics.precision_score(y, answer, **present),
        "macro_recall": metrics.recall_score(y, answer, **present),
        "macro_f1": metrics.f1_score(y, answer, **present),
        "macro_auroc": np.mean([metrics.roc_auc_score(y == k, p[:, k]) for k in range(3)]),
        "loss": metrics.log_loss(y, p, labels=range(4)),
        "missed_findings": (answer[y != 0] == 0).mean(),
        "false_alarms": (answer[y == 0] != 0).mean(),
    }
    assert {key: found[key].value for key in expected} == pytest.approx(expected, abs=1e-12)
    assert found["confusion"] == tuple(map(tuple, metrics.confusion_matrix(y, answer, labels=range(4))))


def test_sigmoid_scores_equal_scikit_learn():
    rng = np.random.default_rng(2)
    y = (rng.random((70, 4)) < 0.4).astype(np.float32)
    logits = rng.normal(size=(70, 4)) + y
    found = describe(logits, y, Resampler([str(i) for i in range(70)], draws=50), ("A", "B", "C", "D"), "sigmoid")
    answer = logits > 0
    expected = {
        "accuracy": 1 - metrics.hamming_loss(y, answer),
        "balanced_accuracy": np.mean([metrics.balanced_accuracy_score(y[:, k], answer[:, k]) for k in range(4)]),
        "macro_precision": metrics.precision_score(y, answer, average="macro", zero_division=0),
        "macro_recall": metrics.recall_score(y, answer, average="macro"),
        "macro_f1": metrics.f1_score(y, answer, average="macro"),
        "macro_auroc": metrics.roc_auc_score(y, logits),
        "loss": np.mean([metrics.log_loss(y[:, k], 1 / (1 + np.exp(-logits[:, k]))) for k in range(4)]),
        "missed_findings": (~answer[y.any(1)].any(1)).mean(),
        "false_alarms": answer[~y.any(1)].any(1).mean() if (~y.any(1)).any() else None,
    }
    assert {key: found[key].value for key in expected} == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("channels", "side"), [(1, (40, 33)), (3, (24, 24))])
@pytest.mark.parametrize("noise", [0.005, 0.2])
def test_ssim_and_psnr_equal_scikit_image(channels, side, noise):
    rng = np.random.default_rng(3)
    smooth = np.linspace(0, 1, side[1])[None, None].repeat(side[0], 1).repeat(channels, 0)
    a = np.clip(smooth + 0.02 * rng.normal(size=smooth.shape), 0, 1).astype(np.float32)
    b = np.clip(a + noise * rng.normal(size=a.shape), 0, 1).astype(np.float32)
    expected = structural_similarity(
        a.astype(np.float64),
        b.astype(np.float64),
        data_range=1,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    found = ssim(torch.from_numpy(a)[None], torch.from_numpy(b)[None]).item()
    assert found == pytest.approx(expected, abs=1e-6)
    assert psnr(torch.from_numpy(a)[None], torch.from_numpy(b)[None]).item() == pytest.approx(
        peak_signal_noise_ratio(a.astype(np.float64), b.astype(np.float64), data_range=1), abs=1e-6
    )
