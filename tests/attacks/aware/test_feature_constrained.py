# SPDX-License-Identifier: Apache-2.0
"""The attack whose features are usual for the class it leads to."""

import pytest
import torch
from torch import Generator

from radproof.attacks.aware.feature_constrained import FeatureConstrained, leads_to
from radproof.attacks.balls import Linf
from radproof.attacks.whitebox.apgd import Apgd
from radproof.core.goals import AnyFinding, Flip, Misclassify, MissAll, Towards
from radproof.errors import NoGradient

LOGITS = torch.tensor([[3.0, 2.0, 1.0], [0.0, 1.0, 4.0]])
Y = torch.tensor([0, 2])
FINDINGS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("goal", "classes"),
    [
        (Misclassify(Y), [1, 1]),
        (Misclassify(torch.tensor([1, 1])), [0, 2]),
        (Towards(Y, torch.tensor([2, 0])), [2, 0]),
        (AnyFinding(FINDINGS), [1, 1]),
        (MissAll(FINDINGS), [1, 1]),
        (Flip(FINDINGS, torch.tensor([2, 0])), [2, 0]),  # these appear
        (Flip(FINDINGS, torch.tensor([0, 2])), [1, 1]),  # these vanish
    ],
)
def test_the_class_that_an_attack_leads_to(goal, classes):
    assert leads_to(goal, LOGITS).tolist() == classes


def density(here, asked=None):
    """A normal density of the mean along the checker: around 0 for class b, far off for class a."""

    def measure(z, classes):
        if asked is not None:
            asked.append(classes.tolist())
        along = (z * here.checker).mean((1, 2, 3))
        return -((along - torch.where(classes == 1, 0.0, 0.5)) / here.limit).square() / 2

    return measure


def run(attack, here):
    return attack(here, here.x, here.goal, rng=Generator())


def test_features_stay_usual_while_the_model_is_fooled(world):
    here, asked = world(), []
    out = run(FeatureConstrained(density(here, asked), here.eps, 20, 5), here)
    fooled, unseen = here.outcome(out)
    assert fooled == [True] * 5
    assert unseen[:3] == [True] * 3
    assert {tuple(classes) for classes in asked} == {(1, 1, 1), (1, 1)}
    plain = run(Apgd(Linf(here.eps), 20), here)
    assert here.outcome(plain)[1] == [False] * 5


def test_of_what_fools_safely_the_most_usual_is_kept(world):
    here = world(shares=(0.9,))  # margins up to 1.3 along the halves alone, up to 3.1 along the checker
    careless, careful = (run(FeatureConstrained(density(here), here.eps, 20, 5, least), here) for least in (0.5, 2.5))
    assert float(here.margin(careless)) >= 0.5
    assert float(here.margin(careful)) >= 2.5
    plain = run(Apgd(Linf(here.eps), 20), here)
    assert here.along(careless) < here.along(careful) < here.along(plain)


def test_every_image_keeps_its_own_class_in_every_piece(world):
    here, asked = world(), []
    goal = Towards(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 1, 1, 0, 0]))
    FeatureConstrained(density(here, asked), here.eps, 1, 1)(here, here.x, goal, rng=Generator())
    assert asked == [[1, 1, 1], [0, 0]] * 2


def test_even_a_single_step_is_judged(world):
    here = world(shares=(0.3,))
    assert here.outcome(run(FeatureConstrained(density(here), here.eps, 1, 1), here))[0] == [True]


def test_an_image_does_not_depend_on_its_neighbours_nor_on_pieces_nor_on_chance(world):
    here = world()
    attack = FeatureConstrained(density(here), here.eps)
    out = run(attack, here)
    for row in range(5):
        alone = attack(here, here.x[row : row + 1], here.goal[torch.tensor([row])], rng=Generator().manual_seed(row))
        assert torch.equal(alone, out[row : row + 1])
    assert torch.equal(run(attack, world(micro_batch=8)), out)


def test_features_without_gradient_are_refused_and_dead_ones_endured(world):
    here = world()
    with pytest.raises(NoGradient, match="the features' density has no gradient"):
        run(FeatureConstrained(lambda z, classes: classes.double(), here.eps), here)
    for dead in (0.0, torch.nan):
        out = run(FeatureConstrained(lambda z, classes, dead=dead: z.sum((1, 2, 3)) * dead, here.eps), here)
        assert here.outcome(out)[0] == [True] * 5


def test_nothing_gives_nothing(world):
    here, none = world(), torch.arange(0)
    out = FeatureConstrained(density(here), here.eps)(here, here.x[none], here.goal[none], rng=Generator())
    assert out.shape == (0, 1, 8, 8)
