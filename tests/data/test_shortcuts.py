"""Shortcut baselines: against scikit-learn on made-up confounds, and the known figure on real radiographs."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from radproof.data.manifest import Manifest, Sample
from radproof.data.nih import read_nih
from radproof.data.shortcuts import accuracy, shortcut_scores
from radproof.data.splits import split
from radproof.errors import BadData


@pytest.fixture
def confounded(tmp_path, saved):
    """Sick patients are filmed lying down (AP), are old, their films bright and their files large."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(80):
        sick = i % 2
        film = rng.integers(60 * sick, 120 + 60 * sick, (16, 16)).astype(np.uint8)
        saved(tmp_path / f"{i}.png", film)
        label, fold, view = ("Normal", "Pneumonia")[sick], "train" if i < 50 else "test", ("PA", "AP")[sick]
        age = 70 + i % 5 if sick else None if i % 3 else 30
        size = 900 + 99 * sick
        samples.append(Sample(f"id{i}", f"{i}.png", f"p{i}", (label,), fold, view=view, age=age, sex="F", size=size))
    return Manifest(tmp_path, ("Normal", "Pneumonia"), tuple(samples))


def test_each_confound_is_found_alone(confounded):
    scores = shortcut_scores(confounded)
    truth = confounded.fold("test").targets()
    assert set(scores) == {"thumbnail", "view", "age_sex", "file_size"}
    for name, score in scores.items():
        assert score.shape == (30, 2)
        np.testing.assert_allclose(score.sum(1), 1)
        assert roc_auc_score(truth, score[:, 1]) == 1, name
        assert accuracy(score, confounded) == 1


def test_balanced_or_unknown_confounds_tell_nothing(confounded):
    rng = np.random.default_rng(1)
    shuffled = [replace(s, view=str(rng.choice(["AP", "PA"])), age=None, sex="", size=500) for s in confounded.samples]
    scores = shortcut_scores(confounded.only(shuffled))
    assert set(scores) == {"thumbnail", "view"}
    assert abs(roc_auc_score(confounded.fold("test").targets(), scores["view"][:, 1]) - 0.5) < 0.25


def test_several_findings(confounded):
    both = [
        replace(s, labels=(*s.labels, "Always") if s.labels == ("Pneumonia",) else ("Always",))
        for s in confounded.samples
    ]
    data = replace(confounded, labels=("Pneumonia", "Always"), samples=tuple(both), head="sigmoid")
    scores = shortcut_scores(data)["view"]
    assert roc_auc_score(data.fold("test").targets()[:, 0], scores[:, 0]) == 1
    assert (scores[:, 1] == 1).all()
    assert accuracy(scores, data) == 1


def test_folds_and_classes_must_be_there(confounded):
    with pytest.raises(BadData, match="test fold"):
        shortcut_scores(confounded.only(s for s in confounded.samples if s.fold == "train"))
    with pytest.raises(BadData, match="train fold shows no Pneumonia"):
        shortcut_scores(confounded.only(s for s in confounded.samples if s.labels == ("Normal",) or s.fold == "test"))


def test_the_thumbnail_alone_reads_real_radiographs(shared):
    root = shared / "data" / "nih-chestxray14-320"
    data = split(read_nih(root, classes=("Normal", "Pneumonia")), by="release")
    test = data.fold("test")
    scores = shortcut_scores(data)
    figures = {name: roc_auc_score(test.targets(), score[:, 1]) for name, score in scores.items()}
    assert 0.75 < figures["thumbnail"] < 0.83
    assert figures["view"] == pytest.approx(0.605, abs=0.01)
