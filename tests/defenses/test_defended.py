# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass

import pytest
import torch

from radproof.defenses.compose import Composed
from radproof.defenses.defended import Defended
from radproof.errors import BadInput

WEIGHTS = torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.0, 1.0, 0.0, -1.0]])


@dataclass(frozen=True)
class Linear:
    """Logits are a fixed linear map of four pixels."""

    labels: tuple[str, ...] = ("Normal", "Pneumonia")
    head: str = "softmax"
    micro_batch: int = 7

    def __call__(self, x):
        return x.flatten(1) @ WEIGHTS.T


@dataclass(frozen=True)
class Steps:
    """Rounds to quarters; its twin is the square."""

    deterministic: bool = True
    differentiable: bool = False
    ways: tuple[str, ...] = ("identity", "twin")
    votes: int = 1

    def __call__(self, x, *, rng):
        return (x * 4).round() / 4

    def surrogate(self, x, *, rng):
        return x**2


@dataclass(frozen=True)
class Noise:
    """Adds a uniform draw."""

    deterministic: bool = False
    differentiable: bool = True
    ways: tuple[str, ...] = ("twin",)
    votes: int = 5

    def __call__(self, x, *, rng):
        return x + torch.rand(x.shape, generator=rng)

    def surrogate(self, x, *, rng):
        return self(x, rng=rng)


X = torch.tensor([[[[0.3, 0.6], [0.9, 0.1]]]])


def gradient(classifier, x):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(classifier(x)[:, 0].sum(), x)
    return slope.flatten()


@pytest.mark.parametrize("backward", ["none", "identity", "twin"])
def test_the_value_is_always_the_real_defences(backward):
    x = X.clone().requires_grad_()
    assert torch.allclose(Defended(Linear(), Steps(), backward=backward)(x), Linear()(Steps()(X, rng=None)))


def test_identity_hands_the_gradient_through_and_the_twin_its_own():
    assert torch.allclose(gradient(Defended(Linear(), Steps(), backward="identity"), X), WEIGHTS[0])
    assert torch.allclose(gradient(Defended(Linear(), Steps(), backward="twin"), X), 2 * X.flatten() * WEIGHTS[0])


def test_without_a_backward_there_is_no_gradient_to_mistake_for_one():
    assert not Defended(Linear(), Steps())(X.clone().requires_grad_()).requires_grad


def test_it_is_a_classifier_like_its_model():
    defended = Defended(Linear(), Steps())
    assert (defended.labels, defended.head, defended.micro_batch) == (("Normal", "Pneumonia"), "softmax", 7)


def test_draws_are_averaged_fresh_each_call_and_repeatable():
    one, again = (Defended(Linear(), Noise(), seed=3, eot=4) for _ in range(2))
    first, second = one(X), one(X)
    assert not torch.equal(first, second)
    assert torch.equal(first, again(X))
    many = Defended(Linear(), Noise(), eot=800)(X)
    assert torch.allclose(many, Linear()(X + 0.5), atol=0.2)


def test_a_deterministic_defence_is_drawn_once():
    assert Defended(Linear(), Steps(), eot=30).draws == 1


def test_the_twin_draws_what_the_real_one_drew():
    x = X.clone().requires_grad_()
    assert torch.allclose(gradient(Defended(Linear(), Noise(), backward="twin"), X), WEIGHTS[0])
    seen = Defended(Linear(), Noise(), backward="twin", seed=1).clean(x)
    assert torch.equal(seen.detach(), Defended(Linear(), Noise(), seed=1).clean(x))


def test_parts_in_a_row():
    both = Composed((Steps(), Noise()))
    assert not both.deterministic
    assert not both.differentiable
    rng = torch.Generator().manual_seed(0)
    expected = Steps()(X, rng=rng) + torch.rand(X.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(both(X, rng=rng), expected)
    twin = Composed((Steps(), Steps())).surrogate(X, rng=rng)
    assert torch.equal(twin, (X**2) ** 2)


def test_what_to_try_against_parts_in_a_row_and_how_many_votes_they_want():
    @dataclass(frozen=True)
    class Flat(Steps):
        ways: tuple[str, ...] = ("identity",)

    assert Composed((Steps(), Steps())).ways == ("identity", "twin")
    assert Composed((Steps(), Flat())).ways == Composed((Flat(), Steps())).ways == ("identity", "twin")
    assert Composed((Flat(), Flat())).ways == ("identity",)
    assert Composed((Flat(), Noise(), Steps())).ways == ("twin",)
    assert Composed((Steps(), Noise(), Steps())).votes == 5
    assert Composed((Steps(), Steps())).votes == 1


@pytest.mark.parametrize("wrong", [{"backward": "sideways"}, {"eot": 0}])
def test_refusals(wrong):
    with pytest.raises(BadInput, match="backward must be"):
        Defended(Linear(), Steps(), **wrong)
