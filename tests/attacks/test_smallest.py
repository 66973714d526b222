# SPDX-License-Identifier: Apache-2.0
"""On a linear model the smallest budget is known exactly: margin / |w|_1."""

import pytest
import torch
from torch import Generator, Tensor

from radproof.attacks.smallest import smallest_budgets
from radproof.core.depth import EIGHT, SIXTEEN
from radproof.core.goals import Misclassify
from radproof.errors import BadPlan

SETTINGS = {"most": 16 / 255, "steps": 5, "rounds": 8, "depth": EIGHT}


class Linear:
    labels, head, micro_batch = ("a", "b"), "softmax", 64

    def __init__(self, bias: list[float]) -> None:
        self.bias = torch.tensor(bias)  # one per image of the batch, told apart by the first pixel

    def __call__(self, x: Tensor) -> Tensor:
        # the mean of nine pixels moves by exactly eps; pixel 0 only carries the image's number
        score = x[:, 0, 0, 1:10].mean(1) - 0.5 - self.bias[(x[:, 0, 0, 0] * 10).round().long()]
        return torch.stack([torch.zeros_like(score), 100 * score], 1)


def batch(n: int) -> Tensor:
    x = torch.full((n, 1, 1, 10), 127 / 255)
    x[:, 0, 0, 0] = torch.arange(n) / 10
    return x


def levels(count: float) -> float:
    """A bias such that `count` grey levels are just not enough."""
    return count / 255 - 0.5 / 255


def rounded(x: Tensor, original: Tensor, eps: float) -> Tensor:
    """A store: round, then within whole grey levels of the original."""
    reach = int(eps * 255 + 1e-6)
    clean = (original * 255).round()
    return torch.minimum(torch.maximum((x * 255).round(), clean - reach), clean + reach) / 255


def test_budgets_of_a_linear_model_are_found(rng):
    needed = [0.37, 2.0, 5.3, 15.9, 40.0, -3.0]
    x, model = batch(6), Linear([levels(k) for k in needed])
    goal = Misclassify(torch.zeros(6, dtype=torch.long))
    loose, stored, adversarial, read = smallest_budgets(model, x, goal, **SETTINGS, rng=rng, store=rounded)
    assert loose.dtype == torch.float64
    assert loose[:4].tolist() == pytest.approx([k / 255 for k in needed[:4]], rel=0.03)
    assert (loose[:4] >= torch.tensor(needed[:4]) / 255 - 1e-6).all()  # never less than the truth
    assert loose[4].isnan()  # not within 16/255
    assert loose[5] == 0  # wrong untouched
    assert (stored[:4] * 255).tolist() == pytest.approx([1, 3, 6, 16])  # 2.0 is just not enough
    assert stored[4].isnan()
    assert stored[5] == 0
    assert goal.reached(model(adversarial)).tolist() == [True] * 4 + [False, True]
    assert torch.equal(adversarial[4:], x[4:])
    assert ((adversarial - x).abs().amax((1, 2, 3))[:4] <= loose[:4] + 1e-7).all()
    assert goal.reached(model(read)).tolist() == [True] * 4 + [False, True]  # what a file of that budget holds
    assert torch.equal((read - x).abs().amax((1, 2, 3))[:4].mul(255).round(), stored[:4].mul(255).round().float())
    assert torch.equal(read[4:], x[4:])


def test_rounding_that_undoes_the_attack_raises_the_stored_budget(rng):
    """A store that drops two grey levels needs two more; the search must look above the float budget, by bisection."""
    x, model = batch(3), Linear([levels(k) for k in (1.2, 4.5, 13.0)])
    goal = Misclassify(torch.zeros(3, dtype=torch.long))

    def lossy(z: Tensor, original: Tensor, eps: float) -> Tensor:
        return original + (z - original).sign() * ((z - original).abs() - 2 / 255).clamp_min(0)

    loose, stored, _, _ = smallest_budgets(model, x, goal, **SETTINGS, rng=rng, store=lossy)
    assert (stored * 255).tolist() == pytest.approx([4, 7, 15], abs=1e-6)
    assert (loose * 255).tolist() == pytest.approx([1.2, 4.5, 13.0], rel=0.03)


def test_sixteen_bits_follow_the_float_budget_closely(rng):
    x, model = batch(2), Linear([levels(0.8), levels(3.1)])
    goal = Misclassify(torch.zeros(2, dtype=torch.long))
    seen: list[float] = []

    def fine(z: Tensor, original: Tensor, eps: float) -> Tensor:
        seen.append(eps * 65535)
        return (z * 65535).round() / 65535

    loose, stored, _, _ = smallest_budgets(model, x, goal, **{**SETTINGS, "depth": SIXTEEN}, rng=rng, store=fine)
    assert ((stored - loose).abs() < 2 / 65535).all()
    assert all(abs(level - round(level)) < 1e-6 for level in seen)


def test_without_a_store_only_the_float_budget_is_judged(rng, toy, images):
    goal = Misclassify(torch.tensor([0, 1, 2, 0]))
    loose, stored, _, _ = smallest_budgets(toy(), images(), goal, **SETTINGS, rng=rng, store=None)
    already = goal.reached(toy()(images()))
    assert torch.equal(loose == 0, already)
    assert torch.equal(stored == 0, already)
    assert stored[~already].isnan().all()


def test_equal_seeds_give_equal_budgets_and_an_empty_batch_none(toy, images):
    goal = Misclassify(torch.tensor([0, 1, 2, 0]))
    runs = [
        smallest_budgets(toy(), images(), goal, **SETTINGS, rng=Generator().manual_seed(1), store=rounded)
        for _ in range(2)
    ]
    for first, again in zip(*runs, strict=True):
        torch.testing.assert_close(first, again, rtol=0, atol=0, equal_nan=True)
    none = smallest_budgets(toy(), images(0), goal[torch.tensor([]).long()], **SETTINGS, rng=Generator(), store=None)
    assert [len(part) for part in none] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"most": 0.0}, "most"),
        ({"most": 1.5}, "most"),
        ({"most": float("nan")}, "most"),
        ({"steps": 0}, "steps"),
        ({"rounds": 0}, "rounds"),
        ({"most": 0.5 / 255}, "grey level"),
    ],
)
def test_bad_parameters_are_refused(toy, images, changed, message):
    with pytest.raises(BadPlan, match=message):
        smallest_budgets(
            toy(), images(1), Misclassify(torch.tensor([0])), **{**SETTINGS, **changed}, rng=Generator(), store=None
        )
