import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from radproof.models.zoo import build
from radproof.training.objectives import CrossEntropy, divergence, hidden_penalty, mart, trades

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 0.0]])


def test_plain_cross_entropy_is_sklearns():
    loss = CrossEntropy("softmax", None)(LOGITS, torch.tensor([2, 1])).mean()
    assert loss.item() == pytest.approx(log_loss([2, 1], LOGITS.double().softmax(1).numpy(), labels=[0, 1, 2]))


def test_an_images_weighted_loss_does_not_depend_on_its_batch():
    objective = CrossEntropy("softmax", torch.tensor([1.0, 3.0, 0.5]))
    both = objective(LOGITS, torch.tensor([2, 1]))
    assert torch.equal(both[1:], objective(LOGITS[1:], torch.tensor([1])))
    assert torch.allclose(both, CrossEntropy("softmax", None)(LOGITS, torch.tensor([2, 1])) * torch.tensor([0.5, 3.0]))


def test_findings_by_hand():
    logits, y = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    softplus = [-torch.tensor(0.5).log().item(), torch.tensor(2.0).exp().add(1).log().item()]
    loss = CrossEntropy("sigmoid", torch.tensor([4.0, 9.0]))(logits, y)
    assert loss.tolist() == pytest.approx([(4 * softplus[0] + softplus[1]) / 2])


def test_penalty_is_on_the_hidden_layers_weights_alone():
    top = build("cxrnet", labels=("a", "b"), hidden=4).top
    with torch.no_grad():
        for p in top.parameters():
            p.fill_(2.0)
    assert hidden_penalty(top, 0.1).item() == pytest.approx(0.1 * 4 * 144 * 4)
    assert hidden_penalty(top, 0.0) == 0
    assert hidden_penalty(nn.Sequential(nn.Linear(2, 2)), 0.1) == 0


# Independent of torch: the papers' formulas in NumPy, float64.

CLEAN = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 0.0], [0.3, 0.2, 4.0]], dtype=torch.float64)
ATTACKED = torch.tensor([[-0.5, 1.0, 0.7], [1.5, 0.0, -2.0], [0.1, 0.9, 1.0]], dtype=torch.float64)
TRUTH = torch.tensor([0, 1, 2])


def probabilities(z):
    e = np.exp(z.numpy() - z.numpy().max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def kullback_leibler(p, q):
    return np.array([sum(a * (np.log(a) - np.log(b)) for a, b in zip(*rows, strict=True)) for rows in zip(p, q)])  # noqa: B905


def test_trades_by_its_formula():
    p, q = probabilities(CLEAN), probabilities(ATTACKED)
    expected = -np.log(p[range(3), TRUTH]) + 6 * kullback_leibler(p, q)
    assert trades(CrossEntropy("softmax", None), CLEAN, ATTACKED, TRUTH, 6.0).numpy() == pytest.approx(expected)


def test_mart_by_its_formula():
    p, q = probabilities(CLEAN), probabilities(ATTACKED)
    rival = [max(q[i, k] for k in range(3) if k != TRUTH[i]) for i in range(3)]
    boosted = -np.log(q[range(3), TRUTH]) - np.log(1.0001 - np.array(rival))
    expected = boosted + 5 * kullback_leibler(p, q) * (1.0000001 - p[range(3), TRUTH])
    assert mart(CrossEntropy("softmax", None), CLEAN, ATTACKED, TRUTH, 5.0).numpy() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [trades, mart])
def test_class_weights_multiply_an_images_whole_loss(loss):
    weights = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    plain = loss(CrossEntropy("softmax", None), CLEAN, ATTACKED, TRUTH, 6.0)
    assert torch.allclose(loss(CrossEntropy("softmax", weights), CLEAN, ATTACKED, TRUTH, 6.0), plain * weights[TRUTH])


@pytest.mark.parametrize("loss", [trades, mart])
def test_gradients_stay_numbers_however_sure_the_network_is(loss):
    sure = torch.tensor([[200.0, -200.0], [200.0, -200.0]], requires_grad=True)
    turned = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
    loss(CrossEntropy("softmax", None), sure, turned, torch.tensor([0, 1]), 6.0).sum().backward()
    assert sure.grad.isfinite().all() and turned.grad.isfinite().all()


def test_divergence_of_findings_is_that_of_coins():
    p, q = 1 / (1 + np.exp(-CLEAN.numpy())), 1 / (1 + np.exp(-ATTACKED.numpy()))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(1)
    assert divergence(CLEAN, ATTACKED, "sigmoid").numpy() == pytest.approx(expected)
    far = torch.tensor([[300.0, -300.0]], requires_grad=True)
    divergence(far, -far, "sigmoid").sum().backward()
    assert far.grad.isfinite().all()


def test_a_students_loss_is_the_cross_entropy_of_two_softened_answers():
    p, q = probabilities(ATTACKED / 20), probabilities(CLEAN / 20)
    loss = CrossEntropy("softmax", None, 20.0).soft(CLEAN, ATTACKED, TRUTH)
    assert loss.numpy() == pytest.approx(-(p * np.log(q)).sum(1))
    p, q = 1 / (1 + np.exp(-ATTACKED.numpy() / 20)), 1 / (1 + np.exp(-CLEAN.numpy() / 20))
    findings = CrossEntropy("sigmoid", None, 20.0).soft(CLEAN, ATTACKED, torch.ones(3, 3))
    assert findings.numpy() == pytest.approx(-(p * np.log(q) + (1 - p) * np.log(1 - q)).mean(1))


def test_a_temperature_divides_the_logits():
    hot = CrossEntropy("softmax", None, 20.0)(CLEAN, TRUTH)
    assert torch.equal(hot, CrossEntropy("softmax", None)(CLEAN / 20, TRUTH))
