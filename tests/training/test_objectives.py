import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from radproof.models.zoo import build
from radproof.training.objectives import CrossEntropy, hidden_penalty

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
