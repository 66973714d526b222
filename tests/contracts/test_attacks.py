# SPDX-License-Identifier: Apache-2.0
"""What every registered attack keeps, for grey and colour, single- and multi-label: what is registered is tested."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from radproof.attacks import attack, corruption
from radproof.attacks.balls import l2_radius
from radproof.attacks.cost import gradients_per_image, passes_per_image
from radproof.attacks.metered import Metered
from radproof.attacks.objective import Objective
from radproof.attacks.pool import Pool
from radproof.core.goals import AnyFinding, Flip, Misclassify, MissAll, Towards
from radproof.core.types import Attack, Goal, Watch
from radproof.errors import BadPlan, UnknownName

EPS = 12 / 255
SMALL = {
    "steps": 4,
    "copies": 2,
    "samples": 2,
    "scales": 2,
    "mixes": 1,
    "queries": 60,
    "pixels": 2,
    "population": 6,
    "generations": 5,
    "epochs": 3,
    "points": 3,
    "searches": 2,
    "neighbours": 2,
    "operators": 2,
    "rounds": 2,
}
NAMES = [recipe.name for recipe in attack]
BUDGETED = [recipe.name for recipe in attack if "eps" in recipe.params.model_fields]
SINGLE_LABEL = {"foreign"}  # other libraries know no multi-label goals; what their attacks cost is not known either
LABELS_ONLY = {"hopskipjump", "hopskipjump_linf"}  # these see no loss, so it need not rise for every image
SHARED = {"universal"}  # one perturbation for all images, so the loss rises on average


@dataclass
class Net:
    """A small random convolutional network, no torch module."""

    layers: tuple[Tensor, Tensor, Tensor]
    head: str
    micro_batch: int = 5
    labels: tuple[str, ...] = ("a", "b", "c")

    def __call__(self, x: Tensor, /) -> Tensor:
        first, second, last = self.layers
        x = F.relu(F.conv2d((x - 0.5) * 4, first, padding=1))
        x = F.relu(F.conv2d(x, second, stride=2, padding=1))
        return x.mean((2, 3)) @ last


def net(channels: int, head: str) -> Net:
    rng = Generator().manual_seed(1)
    shapes = ((8, channels, 3, 3), (16, 8, 3, 3), (16, 3))
    first, second, last = (
        torch.randn(shape, generator=rng) * scale for shape, scale in zip(shapes, (0.5, 0.3, 0.5), strict=True)
    )
    return Net((first.requires_grad_(), second.requires_grad_(), last.requires_grad_()), head)


def images(n: int, channels: int) -> Tensor:
    """Black and white corners included, so that clipping to [0, 1] matters."""
    x = torch.rand(n, channels, 18, 14, generator=Generator().manual_seed(2))
    x[:, :, :3, :3], x[:, :, -3:, -3:] = 0.0, 1.0
    return x


def truth(n: int, head: str) -> Tensor:
    y = torch.arange(n) % 3
    return y if head == "softmax" else F.one_hot(y, 3).float()


def goal_of(n: int, head: str) -> Goal:
    return Misclassify(truth(n, head)) if head == "softmax" else AnyFinding(truth(n, head))


def make(name: str, channels: int, head: str, **params: Any) -> Attack:
    recipe = attack[name]
    chosen = {key: value for key, value in SMALL.items() if key in recipe.params.model_fields}
    others = images(6, channels).flip(3)
    bound = {
        "pool": Pool(others, truth(6, head)),
        "bank": others,
        "anatomy": None,
        "watch": Watch(speckle, 0.002, 0.001),
        "features": lambda x, classes: -(speckle(x) * (1 + classes)).square(),
    }
    budget = {"eps": EPS} if name in BUDGETED else {}
    return recipe.make({**budget, **chosen, **params}, **{need: bound[need] for need in recipe.needs})


def speckle(x: Tensor) -> Tensor:
    """A toy detector: what every second column is brighter by."""
    return (x[..., ::2] - x[..., 1::2]).mean((1, 2, 3)).abs()


every_attack = pytest.mark.parametrize("name", NAMES)
every_budgeted_attack = pytest.mark.parametrize("name", BUDGETED)


def in_every_kind(names: Iterable[str]) -> pytest.MarkDecorator:
    """Grey and colour, one class per image and findings side by side, which other libraries' attacks do not know."""
    kinds = [(1, "softmax"), (3, "softmax"), (1, "sigmoid"), (3, "sigmoid")]
    cases = [(name, *kind) for name in names for kind in kinds if kind[1] == "softmax" or name not in SINGLE_LABEL]
    return pytest.mark.parametrize(("name", "channels", "head"), cases)


@pytest.mark.parametrize("name", sorted(SINGLE_LABEL))
def test_other_libraries_attacks_refuse_findings_side_by_side(name):
    for goal in (goal_of(1, "sigmoid"), *narrow_goals(1)[1:]):
        with pytest.raises(BadPlan, match="know the goals"):
            make(name, 1, "sigmoid")(net(1, "sigmoid"), images(1, 1), goal, rng=Generator())


def narrow_goals(n: int) -> list[Goal]:
    """A chosen class for softmax heads; findings missed, and one turned over, for sigmoid heads."""
    y, findings = truth(n, "softmax"), truth(n, "sigmoid")
    return [Towards(y, (y + 1) % 3), MissAll(findings), Flip(findings, (torch.arange(n) + 1) % 3)]


@pytest.mark.parametrize(
    ("name", "which"), [(name, which) for name in NAMES for which in range(3) if not which or name not in SINGLE_LABEL]
)
def test_every_goal_can_be_wanted(name, which):
    goal = narrow_goals(4)[which]
    head = "softmax" if which == 0 else "sigmoid"
    model, x = net(1, head), images(4, 1)
    out = make(name, 1, head)(model, x, goal, rng=Generator().manual_seed(0))
    objective = Objective(model, goal)
    before, reached = objective.judge(x)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert ((out >= 0) & (out <= 1)).all()
    assert reached.all() or not torch.equal(out, x)
    if attack[name].threat == "linf" and name not in LABELS_ONLY | SHARED:
        assert (objective.loss(out) - before)[~reached].mean() > 0


def test_the_attacks_that_this_package_promises_are_registered():
    assert set(NAMES) >= {"fgsm", "pgd", "pgd_l2", "mi", "sia", "stm", "pgn", "usmm", "square"}


def attacked(name: str, channels: int, head: str) -> tuple[Net, Tensor, Tensor]:
    """A model, images, and what the attack makes of them: new images, with the originals and the weights untouched."""
    model, x = net(channels, head), images(7, channels)
    kept = x.clone()
    out = make(name, channels, head)(model, x, goal_of(7, head), rng=Generator().manual_seed(0))
    assert torch.equal(x, kept)
    assert (out.shape, out.dtype, out.requires_grad) == (x.shape, x.dtype, False)
    assert ((out >= 0) & (out <= 1)).all()
    assert all(layer.grad is None for layer in model.layers)
    return model, x, out


@in_every_kind(BUDGETED)
def test_results_are_images_within_the_budget_that_raise_the_loss(name, channels, head):
    model, x, out = attacked(name, channels, head)
    delta = out - x
    if attack[name].threat == "linf":
        assert float(delta.abs().max()) <= EPS + 1e-6
        assert float(delta.abs().max()) > 0.5 * EPS
    else:
        assert float(delta.flatten(1).norm(dim=1).max()) <= l2_radius(EPS, x.shape[1:]) * (1 + 1e-5)
    objective = Objective(model, goal_of(7, head))
    before, reached = objective.judge(x)
    assert (~reached).any()
    rise = objective.loss(out) - before
    if name not in SHARED:
        rise = rise[~reached]
    assert (rise.mean() if name in LABELS_ONLY | SHARED else rise.min()) > 0


@in_every_kind(sorted(set(NAMES) - set(BUDGETED)))
def test_attacks_without_a_budget_change_images_into_images(name, channels, head):
    _, x, out = attacked(name, channels, head)
    assert not torch.equal(out, x)


@every_attack
def test_equal_generators_give_equal_bytes(name):
    model, x, goal = net(1, "softmax"), images(4, 1), goal_of(4, "softmax")
    recipe = make(name, 1, "softmax")
    first, again = (recipe(model, x, goal, rng=Generator().manual_seed(5)) for _ in range(2))
    fresh = make(name, 1, "softmax")(model, x, goal, rng=Generator().manual_seed(5))
    assert torch.equal(first, again)
    assert torch.equal(first, fresh)


@in_every_kind(NAMES)
def test_a_batch_of_one_works(name, channels, head):
    model, x, goal = net(channels, head), images(1, channels), goal_of(1, head)
    out = make(name, channels, head)(model, x, goal, rng=Generator())
    assert float((out - x).abs().max()) > 0 or Objective(model, goal).judge(x)[1].all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - SINGLE_LABEL))
def test_its_bill_is_what_the_meter_reads(name):
    class Never(Misclassify):
        def reached(self, logits: Tensor) -> Tensor:
            return torch.zeros(len(logits), dtype=torch.bool)

    recipe = attack[name]
    variants = [{}]
    if "restarts" in recipe.params.model_fields:
        variants += [{"restarts": 3}]
    if {"restarts", "stop_when_fooled"} <= set(recipe.params.model_fields):
        variants += [{"stop_when_fooled": True, "restarts": 2}]
    for params in variants:
        meter = Metered(net(1, "softmax"), micro_batch=4)
        make(name, 1, "softmax", **params)(meter, images(3, 1), Never(truth(3, "softmax")), rng=Generator())
        small = {key: value for key, value in SMALL.items() if key in recipe.params.model_fields}
        settled = recipe.settle({**small, **params})
        bill = passes_per_image(name, settled)
        assert (meter.forwards / 3, meter.backwards / 3) == (bill.forwards, bill.backwards)
        assert gradients_per_image(name, settled) == (bill.backwards or bill.forwards)


@every_attack
@pytest.mark.parametrize("preset", ["quick", "published", "exhaustive"])
def test_presets_are_valid_and_ascend_in_cost(name, preset):
    recipe = attack[name]
    cost = gradients_per_image(name, recipe.settle({}, preset))
    assert cost >= gradients_per_image(name, recipe.settle({}, "quick"))
    assert recipe.title
    assert recipe.paper.startswith(("arXiv:", "doi:", "CVPR ", "ICCV "))
    assert recipe.doc
    assert name in BUDGETED or (recipe.limits and recipe.limits(recipe.settle({}, preset)))


def test_published_presets_cost_what_the_papers_say():
    costs = {name: gradients_per_image(name, attack[name].settle({}, "published")) for name in NAMES}
    assert {name: costs[name] for name in ("sia", "stm", "pgn", "usmm", "mi")} == {
        "sia": 200,
        "stm": 200,
        "pgn": 400,
        "usmm": 150,
        "mi": 10,
    }
    quick = [gradients_per_image(name, attack[name].settle({}, "quick")) for name in ("sia", "stm", "pgn", "usmm")]
    assert sum(quick) == 210


@every_budgeted_attack
@pytest.mark.parametrize("eps", [0, -1 / 255, 1.5, float("nan"), float("inf"), "four", None])
def test_budgets_out_of_range_are_refused_by_name(name, eps):
    with pytest.raises(BadPlan, match=f"{name}: eps"):
        attack[name].settle({"eps": eps})


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("pgd", {"steps": 0}),
        ("pgd", {"step": 0}),
        ("pgd", {"restarts": 0}),
        ("mi", {"decay": -1}),
        ("sia", {"blocks": 0}),
        ("sia", {"ops": "all"}),
        ("sia", {"copies": 0}),
        ("usmm", {"scales": 1}),
        ("pgn", {"zeta": 0}),
        ("square", {"queries": 0}),
        ("stm", {"gamma": 1.1}),
        ("fgsm", {"steps": 3}),
    ],
)
def test_other_bad_parameters_are_refused_by_name(name, params):
    with pytest.raises(BadPlan, match=next(iter(params))):
        attack[name].settle(params)


def test_blocks_finer_than_the_image_and_pools_of_one_class_are_refused():
    run = {"rng": Generator()}
    with pytest.raises(BadPlan, match="blocks=16"):
        make("sia", 1, "softmax", blocks=16)(net(1, "softmax"), images(1, 1), goal_of(1, "softmax"), **run)
    pool = Pool(images(3, 1), torch.zeros(3, dtype=torch.long))
    with pytest.raises(BadPlan, match="at least two classes"):
        attack["usmm"].make({}, pool=pool)(net(1, "softmax"), images(1, 1), goal_of(1, "softmax"), **run)
    with pytest.raises(BadPlan, match="pool"):
        attack["usmm"].make({})


def test_an_unknown_attack_has_no_bill():
    with pytest.raises(UnknownName, match="did you mean 'square'"):
        passes_per_image("squares", {})


def test_corruptions_are_no_attacks():
    names = [recipe.name for recipe in corruption]
    assert names
    assert not set(names) & set(NAMES)
    assert all(recipe.threat == "visible" and "eps" not in recipe.params.model_fields for recipe in corruption)
