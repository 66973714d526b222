"""Deliberately broken defences are caught by the real probes, each as what it is; the sound ones beside them are not.

Phantoms of healthy chests with a light patch on the left or a dark one on the right: learnt in seconds, with margins
of a few logits. Every broken defence is the same sound network behind something that misleads an attacker.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from radproof.assess.contenders import Contender
from radproof.assess.verdict import verdict


@dataclass(frozen=True)
class Network:
    """A network behind something that is no defence of ours: the tool sees one network."""

    inner: object

    @property
    def labels(self):
        return self.inner.labels

    @property
    def head(self):
        return self.inner.head

    @property
    def micro_batch(self):
        return self.inner.micro_batch


class RoundedLogits(Network):
    """Answers are rounded: the gradient is zero nearly everywhere."""

    def __call__(self, x: Tensor) -> Tensor:
        return (self.inner(x) * 4).round() / 4


class Detached(Network):
    """The forward pass is cut off from its input."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x.detach())


class Saturated(Network):
    """Trained at a temperature of 100 and used without: margins of hundreds, softmax saturates."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x) * 100


class Probabilities(Network):
    """Answers are probabilities."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x).softmax(1)


class AmongOthers(Network):
    """Images are normalised together with the others of their batch."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner((x - x.mean() + 0.5).clamp(0, 1))


@dataclass(frozen=True)
class Quantised:
    """A few grey levels by sign or step, and no word about a substitute: the backward pass takes its zero gradient."""

    deterministic = True
    differentiable = True
    votes = 1
    ways: tuple[str, ...] = ("twin",)

    def __call__(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        return (x * 8).round() / 8

    def surrogate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        return self(x, rng=rng)


@dataclass(frozen=True)
class Noisy:
    """Gaussian noise."""

    deterministic: bool = False
    sigma: float = 0.1
    differentiable = True
    votes: int = 1
    ways: tuple[str, ...] = ("identity",)

    def __call__(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        return (x + self.sigma * torch.empty_like(x).normal_(generator=rng)).clamp(0, 1)

    def surrogate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        return self(x, rng=rng)


def raised(found, name):
    """Kinds of serious doubts about one contender."""
    return {d.kind for d in found.doubts if d.about == f"defense:{name}" and d.severity == "serious"}


@pytest.fixture(scope="module")
def judged(patches, crash):
    """Everything above in one run, against a sound network and what is sound beside them."""
    net = patches.model

    def behind(defense):
        return Contender(net, "same", "cxrnet", defense)

    def other(network):
        return Contender(network, "other", "cxrnet")

    return crash(
        patches,
        {
            "rounded_logits": other(RoundedLogits(net)),
            "detached": other(Detached(net)),
            "saturated": other(Saturated(net)),
            "probabilities": other(Probabilities(net)),
            "among_others": other(AmongOthers(net)),
            "quantised": behind(Quantised()),
            "quantised_bpda": behind(Quantised(ways=("identity",))),
            "secretly_random": behind(Noisy(deterministic=True)),
            "random": behind(Noisy(votes=4)),
        },
    )


def test_rounded_logits(judged):
    assert {"dead-gradients", "gradient-masking", "black-box-beats-white-box"} <= raised(judged, "rounded_logits")


def test_a_quantised_input(judged):
    assert {"dead-gradients", "gradient-masking", "black-box-beats-white-box"} <= raised(judged, "quantised")
    assert raised(judged, "quantised_bpda") == set()  # straight through it is a defence like any other


def test_a_detached_forward_pass_is_a_doubt_and_no_crash(judged):
    found = raised(judged, "detached")
    assert {"dead-gradients", "gradient-masking"} <= found
    (doubt,) = (d for d in judged.doubts if d.about == "defense:detached" and d.kind == "dead-gradients")
    assert "no gradient at all on 100 %" in doubt.message


def test_softmax_at_a_temperature_of_100(judged):
    assert {"loss-saturates", "dead-gradients"} <= raised(judged, "saturated")


def test_a_random_defence_that_calls_itself_deterministic(judged):
    assert "random-answers" in raised(judged, "secretly_random")


def test_a_random_defence_attacked_over_one_draw(patches, crash):
    plan = patches.plan.model_copy(update={"eot": 1})
    once = crash(replace(patches, plan=plan), {"random": Contender(patches.model, "same", "cxrnet", Noisy())})
    assert "random-without-eot" in raised(once, "random")


def test_probabilities_and_batches(judged):
    assert "probabilities" in raised(judged, "probabilities")
    assert "batch-dependence" in raised(judged, "among_others")


@pytest.mark.parametrize("name", ["none", "random"])
def test_sound_ones_raise_none_of_this(judged, name):
    assert raised(judged, name) == set()


@pytest.mark.parametrize("name", ["rounded_logits", "quantised", "detached", "saturated", "secretly_random"])
def test_what_is_broken_is_never_said_to_help(judged, name):
    """By the attacks made on itself alone, as if nobody had thought of images made on the bare model."""
    cells = [cell for cell in judged.cells if cell.defense in ("none", name)]
    own = {cell.eps: cell for cell in cells if (cell.column, cell.defense, cell.attack) == ("adaptive", name, "worst")}
    cells = [
        cell.model_copy(update={"robust_accuracy": own[cell.eps].robust_accuracy})
        if (cell.column, cell.defense) == ("headline", name)
        else cell
        for cell in cells
    ]
    fooled = verdict(cells, None, ())
    if name != "secretly_random":
        assert "it helps." in fooled  # without the doubts
    assert "it helps." not in verdict(cells, None, judged.doubts)
