# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from radproof.attacks.metered import Metered, choose_precision
from radproof.attacks.objective import Objective
from radproof.core import device
from radproof.core.goals import Misclassify
from radproof.errors import BadPlan


def test_it_counts_images_forward_and_backward(toy, images):
    model = Metered(toy(), micro_batch=3)
    objective = Objective(model, Misclassify(torch.tensor([0, 1, 2, 0])))
    objective.gradient(images(8))
    assert (model.forwards, model.backwards) == (8, 8)
    objective.judge(images(4))
    assert (model.forwards, model.backwards) == (12, 8)
    model.reset()
    assert (model.forwards, model.backwards) == (0, 0)


def test_it_is_the_same_classifier(toy, images):
    inner = toy(3, micro_batch=5)
    model = Metered(inner)
    assert (model.labels, model.head, model.micro_batch) == (inner.labels, inner.head, 5)
    torch.testing.assert_close(model(images(2, 3)), inner(images(2, 3)))
    assert Metered(inner, micro_batch=2).micro_batch == 2
    assert model(images(1, 3, dtype=torch.float32)).dtype == torch.float32


def test_bfloat16_is_for_gradients_and_never_for_answers(toy, images):
    seen: list[tuple[bool, bool]] = []

    class Spy:
        labels, head, micro_batch, inner = ("a", "b", "c"), "softmax", 8, toy()

        def __call__(self, x: Tensor) -> Tensor:
            seen.append((x.requires_grad, torch.is_autocast_enabled("cpu")))
            return self.inner(x)

    objective = Objective(Metered(Spy(), precision="bf16"), Misclassify(torch.tensor([0, 1])))
    short, exact = (
        objective.gradient(images(2)),
        Objective(toy(), Misclassify(torch.tensor([0, 1]))).gradient(images(2)),
    )
    losses = objective.loss(images(2))
    assert seen == [(True, True), (False, False)]
    assert short.dtype == torch.float32
    assert not torch.equal(short, exact)
    torch.testing.assert_close(losses, Objective(toy(), Misclassify(torch.tensor([0, 1]))).loss(images(2)))


@pytest.mark.parametrize("native", [True, False])
def test_auto_takes_bfloat16_where_the_processor_has_it_and_gradients_agree(toy, images, monkeypatch, native):
    monkeypatch.setattr(device, "has_bfloat16", lambda _: native)
    goal = Misclassify(torch.tensor([0, 1]))
    assert choose_precision(toy(), images(2), goal, "auto") == ("bf16" if native else "fp32")


def test_auto_falls_back_where_gradients_disagree(images, monkeypatch):
    monkeypatch.setattr(device, "has_bfloat16", lambda _: True)

    class Delicate:
        """The gradient is a difference that bfloat16 cannot see."""

        labels, head, micro_batch = ("a", "b"), "softmax", 8

        def __call__(self, x: Tensor) -> Tensor:
            rounded = x.flatten(1) @ torch.eye(x[0].numel())  # autocast multiplies in bfloat16
            score = torch.sin(5000 * rounded).sum(1, keepdim=True)
            return torch.cat([score, -score], 1)

    assert choose_precision(Delicate(), images(2), Misclassify(torch.tensor([0, 1])), "auto") == "fp32"


def test_explicit_precisions_are_taken_at_their_word(toy, images):
    goal = Misclassify(torch.tensor([0]))
    assert choose_precision(toy(), images(1), goal, "bf16") == "bf16"
    assert choose_precision(toy(), images(1), goal, "fp32") == "fp32"
    with pytest.raises(BadPlan, match="fp16"):
        choose_precision(toy(), images(1), goal, "fp16")
