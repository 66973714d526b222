# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from radproof.attacks.objective import Objective
from radproof.core.goals import AnyFinding, Misclassify
from radproof.errors import BadInput, BadModel


def test_the_gradient_does_not_depend_on_how_it_is_cut(toy, images):
    x, y = images(5, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    stack = torch.cat([x, 0.5 * x, x.flip(3)])
    whole = Objective(toy(dtype=torch.float64, micro_batch=99), Misclassify(y)).gradient(stack)
    for size in (1, 4, 7):
        pieces = Objective(toy(dtype=torch.float64, micro_batch=size), Misclassify(y)).gradient(stack)
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-15)
    for row in (0, 6, 14):  # row r of a copy-major stack shows image r modulo 5
        alone = Objective(toy(dtype=torch.float64), Misclassify(y[[row % 5]])).gradient(stack[[row]])
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-15)


def test_the_gradient_is_that_of_the_summed_loss(toy, images):
    model, x, y = toy(dtype=torch.float64), images(2, dtype=torch.float64), torch.tensor([0, 2])
    grad = Objective(model, Misclassify(y)).gradient(x)
    h, where = 1e-6, (1, 0, 3, 4)
    up, down = x.clone(), x.clone()
    up[where] += h
    down[where] -= h
    slope = (
        (Objective(model, Misclassify(y)).loss(up).sum() - Objective(model, Misclassify(y)).loss(down).sum()) / h / 2
    )
    assert float(grad[where]) == pytest.approx(float(slope), rel=1e-5)


def test_multi_label_goals_take_float32_truths(toy, images):
    model, x = toy(head="sigmoid"), images(2)
    goal = AnyFinding(torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    objective = Objective(model, goal)
    assert objective.gradient(x).dtype == torch.float32
    raised = objective.loss((x + 0.05 * objective.gradient(x).sign()).clamp(0, 1))
    assert (raised > objective.loss(x)).all()


def test_an_image_whose_gradient_is_not_finite_gets_zero_and_spares_the_others(toy, images):
    class Broken:
        labels, head, micro_batch, inner = ("a", "b", "c"), "softmax", 8, toy()

        def __call__(self, x: Tensor) -> Tensor:
            logits = self.inner(x)
            poison = torch.zeros(len(x), 1)
            poison[1] = torch.inf
            return logits * (1 + poison * x[:, 0, :1, 0])

    x, y = images(3), torch.tensor([0, 1, 2])
    grad = Objective(Broken(), Misclassify(y)).gradient(x)
    clean = Objective(toy(), Misclassify(y)).gradient(x)
    assert (grad[1] == 0).all()
    torch.testing.assert_close(grad[[0, 2]], clean[[0, 2]])
    assert Objective(Broken(), Misclassify(y)).loss(x)[1] == -torch.inf


def test_a_confident_answer_still_has_both_halves_of_its_gradient():
    """In float32 the softmax of a margin of 30 is exactly 1, and the pull on the true logit would be lost."""

    class Linear:
        labels, head, micro_batch = ("a", "b"), "softmax", 8

        def __call__(self, x: Tensor) -> Tensor:
            return torch.stack([30 + x[:, 0, 0, 0], x[:, 0, 0, 1]], 1)

    x = torch.full((1, 1, 1, 2), 0.5)
    objective = Objective(Linear(), Misclassify(torch.tensor([0])))
    grad = objective.gradient(x).flatten()
    p = 9.357622968840e-14  # 1 / (1 + e^30)
    torch.testing.assert_close(grad, torch.tensor([-p, p]), rtol=2e-3, atol=0)
    assert float(objective.loss(x)) == pytest.approx(p, rel=2e-3)


@pytest.mark.parametrize("detach_input", [True, False])
def test_a_model_without_gradient_is_refused_with_a_way_out(toy, images, detach_input):
    class Cut:
        labels, head, micro_batch, inner = ("a", "b", "c"), "softmax", 8, toy()

        def __call__(self, x: Tensor) -> Tensor:
            # with detached input the logits still require a gradient: that of the weights
            return self.inner(x.detach()) if detach_input else self.inner(x).detach()

    with pytest.raises(BadModel, match="square"):
        Objective(Cut(), Misclassify(torch.tensor([0]))).gradient(images(1))


def test_it_takes_gradients_where_the_caller_has_switched_them_off(toy, images):
    with torch.no_grad():
        assert Objective(toy(), Misclassify(torch.tensor([0]))).gradient(images(1)).abs().sum() > 0


def test_views_must_be_a_multiple_of_the_images(toy, images):
    with pytest.raises(BadInput, match=r"3 views .* 2 images"):
        Objective(toy(), Misclassify(torch.tensor([0, 1]))).gradient(images(3))


def test_weights_get_no_gradient(toy, images):
    model = toy()
    Objective(model, Misclassify(torch.tensor([0, 1]))).gradient(images(2))
    assert model.first.grad is None
    assert model.last.grad is None
