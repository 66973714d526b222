"""What answers in the model's place: how it is scored, how it is attacked, and what a plan may say of it."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from radproof.assess.contenders import Contender, in_front
from radproof.assess.parts import settle_all
from radproof.assess.plan import make_plan
from radproof.assess.sections import Part, in_order
from radproof.core.rng import generator
from radproof.defenses import defense
from radproof.errors import BadPlan

RECIPE = {"architecture": "cxrnet", "input_size": 32}


@dataclass(frozen=True)
class Linear:
    """Logits from the mean grey level."""

    labels: tuple[str, ...] = ("a", "b")
    head: str = "softmax"
    micro_batch: int = 8

    def __call__(self, x):
        grey = x.mean(dim=(1, 2, 3))
        return torch.stack([grey, 1 - grey], dim=1)


def made(*parts, **given):
    front, steps = in_front(settle_all([Part(**part) for part in parts], defense, "quick"))
    return Contender(Linear(), "print", "linear", front, steps)


def images(n=3):
    return torch.rand(n, 1, 16, 16, generator=generator(1, "contenders"))


def test_a_bare_network_is_scored_and_attacked_as_it_is():
    bare = made()
    assert (bare.ways, bare.random, bare.defense, bare.steps) == (("none",), False, None, ())
    assert bare.answering(1) is bare.network
    assert bare.attacked("none", seed=1, eot=8) is bare.network


def test_a_defence_in_front_hands_on_what_it_made_and_its_substitute_gradient():
    behind = made({"name": "bit_depth", "params": {"bits": 1}})
    x = images().requires_grad_()
    attacked = behind.attacked("identity", seed=1, eot=8)
    rounded = Linear()(x.detach().round())
    assert torch.allclose(attacked(x).detach(), rounded)
    assert torch.allclose(behind.answering(5)(x.detach()), rounded)
    (slope,) = torch.autograd.grad(attacked(x)[:, 0].sum(), x)
    assert torch.allclose(slope, torch.full_like(slope, 1 / 256))  # as if nothing were rounded
    assert not behind.random


def test_several_parts_are_one_in_their_order():
    both = made({"name": "bit_depth", "params": {"bits": 1}}, {"name": "noise", "params": {"sigma": 0.1, "votes": 4}})
    assert both.random
    assert [step["name"] for step in both.steps] == ["bit_depth", "noise"]
    assert both.ways == ("twin",)


def test_a_random_defence_is_attacked_over_draws_and_answers_by_its_votes():
    noisy = made({"name": "noise", "params": {"sigma": 0.2, "votes": 16}})
    assert noisy.attacked("twin", seed=1, eot=5).draws == 5
    assert noisy.answering(1).draws == 16
    spread = [noisy.answering(seed)(images()) for seed in range(20)]
    single = [noisy.attacked("twin", seed=seed, eot=1)(images()) for seed in range(20)]
    assert torch.stack(spread).std(0).mean() < 0.6 * torch.stack(single).std(0).mean()


PLAN = {
    "data": {"kind": "phantom", "count": 30},
    "model": {"train": RECIPE},
    "attacks": ["pgd"],
    "budgets": ["1/255"],
}


@pytest.mark.parametrize(
    ("hardened", "said"),
    [
        ({"a": {}}, "give one of path"),
        ({"a": {"path": "x", "train": RECIPE}}, "give one of path"),
        ({"model": "x"}, "cannot be called model"),
        ({"none": "x"}, "cannot be called none"),
        ({"a": {"like": "model"}}, "put something in front"),
        ({"a": {"like": "c", "behind": ["jpeg"]}, "b": "x"}, "refers to 'c'"),
        ({"a": {"of": ["model", "b"]}, "b": {"of": ["model", "a"]}}, "in a circle: a → b → a|in a circle: b → a → b"),
        ({"a": {"path": "x", "start": "model"}}, "go with train"),
        ({"a": {"of": ["model", "model"]}}, "two or more"),
        ({"a": {"path": "x", "behind": ["jpeg"]}, "b": {"of": ["model", "a"]}}, "stands behind a defence"),
        ({"a": {"train": {**RECIPE, "adversarial": {"epz": 1}}}}, "epz"),
    ],
)
def test_what_cannot_be_a_hardened_network_is_refused(hardened, said):
    with pytest.raises(BadPlan, match=said):
        make_plan({**PLAN, "hardened": hardened}, base=Path())


def test_paths_of_hardened_networks_are_relative_to_the_plan(tmp_path):
    inner = {"name": "stm", "network": "style.onnx"}
    plan = make_plan(
        {**PLAN, "hardened": {"a": "models/a", "b": {"train": {**RECIPE, "adversarial": {"attack": inner}}}}},
        base=tmp_path,
    )
    assert plan.hardened["a"].path == str(tmp_path / "models/a")
    assert plan.hardened["b"].train.adversarial.attack.params["network"] == str(tmp_path / "style.onnx")


def test_the_order_of_the_plan_does_not_matter():
    plans = {"c": {"of": ["model", "b"]}, "b": {"train": RECIPE, "start": "a"}, "a": "x"}
    plan = make_plan({**PLAN, "hardened": plans}, base=Path())
    assert list(plan.hardened) == ["c", "b", "a"]
    assert in_order(plan.hardened) == ("a", "b", "c")
