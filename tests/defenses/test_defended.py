# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, field

import pytest
import torch

from radproof.core.rng import generator
from radproof.defenses.compose import Composed
from radproof.defenses.defended import Defended
from radproof.defenses.random_resize_pad import RandomResizePad
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


@dataclass(frozen=True)
class Counting(Linear):
    """Remembers the sizes of its passes."""

    passes: list[int] = field(default_factory=list)

    def __call__(self, x):
        self.passes.append(len(x))
        return super().__call__(x)


def test_all_draws_go_through_the_model_together_in_pieces_that_fit():
    model = Counting()
    defended = Defended(model, Noise(), eot=3)
    assert defended.micro_batch == 2
    x = X.expand(2, -1, -1, -1)
    logits = defended(x)
    assert model.passes == [6]
    Defended(model, Noise(), eot=9)(x)
    assert model.passes[1:] == [7, 7, 4]
    again = Defended(model, Noise(), eot=3).clean(x.repeat(3, 1, 1, 1))
    assert torch.allclose(logits, Linear()(again).view(3, 2, 2).mean(0))
    assert Defended(model, Noise(), eot=30).micro_batch == 1


def test_the_gradient_is_the_mean_over_draws():
    @dataclass(frozen=True)
    class Gain(Noise):
        """Multiplies every image by a draw."""

        def __call__(self, x, *, rng):
            return x * torch.rand(len(x), 1, 1, 1, generator=rng)

    one = Defended(Linear(), Gain(), backward="twin", seed=1, eot=4)
    slope = gradient(one, X)
    seed = torch.randint(2**62, (1,), generator=generator(1, "defended")).item()
    gains = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(slope, gains.mean() * WEIGHTS[0])
    assert not torch.allclose(gradient(one, X), slope)


def test_a_defence_with_a_gradient_of_its_own_is_run_once():
    runs = []

    @dataclass(frozen=True)
    class Watched(Noise):
        def surrogate(self, x, *, rng):
            runs.append("twin")
            return Noise().surrogate(x, rng=rng)

        def __call__(self, x, *, rng):
            runs.append("real")
            return Noise()(x, rng=rng)

    gradient(Defended(Linear(), Watched(), backward="twin"), X)
    assert runs == ["twin"]
    gradient(Defended(Linear(), Watched(differentiable=False), backward="twin"), X)
    assert runs == ["twin", "real", "twin"]


def test_pixels_are_cleaned_in_full_precision_under_autocast():
    x = torch.rand(2, 1, 24, 24, generator=generator(1), requires_grad=True)
    plain = Defended(Linear(), RandomResizePad(), backward="twin", seed=1).clean(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        short = Defended(Linear(), RandomResizePad(), backward="twin", seed=1).clean(x)
    assert short.dtype == torch.float32
    assert torch.equal(plain, short)


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
