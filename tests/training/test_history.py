import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from radproof.training.history import Epoch, History, read_history, score, write_history

RNG = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 3, generator=RNG)
EPOCH = Epoch(
    stage="head",
    epoch=1,
    lr=1e-3,
    train_loss=0.7,
    train_accuracy=0.5,
    validation_loss=0.6,
    validation_accuracy=0.6,
    validation_auroc=None,
)


def test_scores_are_sklearns():
    y = torch.arange(40) % 3
    p = LOGITS.double().softmax(1).numpy()
    found = score(LOGITS, y, "softmax")
    assert found.accuracy == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert found.loss == pytest.approx(log_loss(y, p))
    assert found.auroc == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))


def test_scores_of_findings_are_sklearns():
    y = (torch.rand(40, 3, generator=RNG) > 0.6).float()
    found = score(LOGITS, y, "sigmoid")
    assert found.auroc == pytest.approx(roc_auc_score(y, LOGITS.sigmoid()))
    assert found.accuracy == pytest.approx(((LOGITS > 0) == (y > 0.5)).double().mean().item())


def test_absent_classes_are_left_out_of_the_mean():
    y = torch.arange(40) % 2
    p = LOGITS.double().softmax(1).numpy()
    expected = (roc_auc_score(y == 0, p[:, 0]) + roc_auc_score(y == 1, p[:, 1])) / 2
    assert score(LOGITS, y, "softmax").auroc == pytest.approx(expected)


def test_one_class_alone_has_no_auroc():
    assert score(LOGITS, torch.zeros(40, dtype=torch.int64), "softmax").auroc is None


def test_round_trip(tmp_path):
    history = History(digest="d", epochs=(EPOCH, EPOCH))
    write_history(tmp_path, history)
    assert read_history(tmp_path) == history


def test_what_is_no_history_reads_as_none(tmp_path):
    assert read_history(tmp_path) is None
    (tmp_path / "history.json").write_text('{"digest": 3}')
    assert read_history(tmp_path) is None
