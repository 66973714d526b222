# SPDX-License-Identifier: Apache-2.0
"""The penalised attack against a detector whose blind side is known."""

from dataclasses import replace

import pytest
import torch
from torch import Generator

from radproof.attacks.aware.evasion import Evasion
from radproof.attacks.aware.orthogonal import Orthogonal
from radproof.attacks.aware.search import Weight
from radproof.attacks.balls import Linf
from radproof.attacks.whitebox.apgd import Apgd
from radproof.core.goals import Towards
from radproof.errors import NoGradient

KINDS = {
    "evasion": lambda watch, eps, **more: Evasion(watch, eps, 20, 3, **more),
    "orthogonal": lambda watch, eps, **more: Orthogonal(watch, eps, 60, **more),
    "selective": lambda watch, eps, **more: Orthogonal(watch, eps, 60, "selective", **more),
}
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def run(attack, world, **changed):
    asked = {"model": world, "x": world.x, "goal": world.goal, **changed}
    return attack(asked["model"], asked["x"], asked["goal"], rng=Generator())


def test_who_ignores_the_detector_fools_everybody_and_is_always_seen(world):
    here = world()
    out = run(Apgd(Linf(here.eps), 20), here)
    assert here.outcome(out) == ([True] * 5, [False] * 5)


@every_kind
def test_who_knows_it_fools_unseen_where_that_is_possible(world, kind):
    here = world()
    fooled, unseen = here.outcome(run(KINDS[kind](here.watch(), here.eps), here))
    possible = 3 if kind == "selective" else 4
    assert [a and b for a, b in zip(fooled, unseen, strict=True)][:possible] == [True] * possible
    assert not (fooled[4] and unseen[4])  # 0.66 * 1.08 > 0.75 * 0.1 + 0.66 * 0.9


def test_the_penalty_gives_up_on_the_detector_rather_than_on_the_model(world):
    here = world()
    fooled, unseen = here.outcome(run(KINDS["evasion"](here.watch(), here.eps), here))
    assert (fooled[4], unseen[4]) == (True, False)


@every_kind
def test_a_chosen_class_is_reached_unseen_too(world, kind):
    here = world(shares=(0.3, 0.5))
    goal = Towards(torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.long))
    assert here.outcome(run(KINDS[kind](here.watch(), here.eps), here, goal=goal)) == ([True] * 2, [True] * 2)


@every_kind
def test_even_a_single_step_is_judged(world, kind):
    here = world(shares=(0.3,))
    short = {"evasion": Evasion(here.watch(), here.eps, 1, 1)}.get(kind)
    attack = short or Orthogonal(here.watch(), here.eps, 1, "orthogonal" if kind == "orthogonal" else "selective")
    assert here.outcome(run(attack, here))[0] == [True]


@pytest.mark.parametrize(("suspicion", "more"), [(9.0, [True, False]), (0.0, [False, False])])
def test_only_fooled_and_detected_does_the_detector_weigh_more(world, monkeypatch, suspicion, more):
    here, told = world(shares=(0.3, 3.0)), []  # the second is never fooled
    monkeypatch.setattr(Weight, "adjust", lambda weight, more: told.append(more.tolist()))
    run(Evasion(here.watch(lambda z: (z * 0).sum((1, 2, 3)) + suspicion), here.eps, 4, 2), here)
    assert told == [more, more]


def test_the_penalty_begins_at_the_slack(world):
    here, tried = world(shares=(0.3,)), []
    watch = here.watch(lambda z: (z * here.checker).mean((1, 2, 3)) + 0.6 * here.limit)
    attack = Evasion(watch, here.eps, 1, 1, slack=1.0)  # 0.8 spreads under the threshold, which is less than 1
    watched = here.watch(lambda z: (tried.append(z.detach()), watch.suspicion(z))[1])
    run(replace(attack, watch=watched), here)
    assert float((tried[1] * here.checker).mean().abs()) < 1e-12
    assert here.outcome(run(replace(attack, slack=0.7), here))[1] == [False]


@every_kind
def test_slack_is_left_under_the_threshold(world, kind):
    here = world(shares=(0.3,))
    out = run(KINDS[kind](here.watch(), here.eps, slack=1.0), here)
    assert float(here.along(out)) <= 0.5 * here.limit
    assert float(here.margin(out)) > 0


@every_kind
def test_where_the_detector_sees_the_margin_itself_no_success_is_claimed(world, kind):
    here = world()
    watch = here.watch(lambda z: here(z).diff(dim=1).flatten(), -0.5)
    out = run(KINDS[kind](watch, here.eps), here)
    fooled, _ = here.outcome(out)
    suspicion = here.margin(out)
    assert not any(hit and score <= -0.5 for hit, score in zip(fooled, suspicion.tolist(), strict=True))
    assert fooled == [True] * 5
    assert float(suspicion.max()) < 0.5 * float(here.margin(run(Apgd(Linf(here.eps), 20), here)).max())


@every_kind
def test_an_image_does_not_depend_on_its_neighbours_nor_on_pieces_nor_on_chance(world, kind):
    here = world()
    attack = KINDS[kind](here.watch(), here.eps)
    out = run(attack, here)
    for row in range(5):
        alone = attack(here, here.x[row : row + 1], here.goal[torch.tensor([row])], rng=Generator().manual_seed(row))
        assert torch.equal(alone, out[row : row + 1])
    wide = world(micro_batch=8)
    assert torch.equal(run(KINDS[kind](wide.watch(), wide.eps), wide), out)


@every_kind
def test_nothing_gives_nothing(world, kind):
    here = world()
    none = torch.arange(0)
    attack = KINDS[kind](here.watch(), here.eps)
    assert attack(here, here.x[none], here.goal[none], rng=Generator()).shape == (0, 1, 8, 8)


@every_kind
def test_a_detector_without_gradient_is_refused_and_one_with_a_broken_one_endured(world, kind):
    here = world()
    with pytest.raises(NoGradient, match="detector"):
        run(KINDS[kind](here.watch(lambda z: (z > 0.5).double().mean((1, 2, 3))), here.eps), here)
    broken = here.watch(lambda z: (z * 0).sum((1, 2, 3)).sqrt() + 1)
    dead = here.watch(lambda z: (z * 0).sum((1, 2, 3)) + 1)
    lost = here.watch(lambda z: z.sum((1, 2, 3)) * torch.nan)
    for watch in (broken, dead, lost):
        out = run(KINDS[kind](watch, here.eps), here)
        assert here.outcome(out)[0] == [True] * 5


@every_kind
def test_a_model_without_gradient_is_refused(world, kind):
    here = world()

    def blind(x):
        return here(x).round().detach()

    blind.micro_batch = 3
    with pytest.raises(NoGradient, match="the model's answer"):
        run(KINDS[kind](here.watch(), here.eps), here, model=blind)


@every_kind
def test_images_that_are_fooled_already_come_back_fooled_and_unseen(world, kind):
    here = world(shares=(-0.2, -0.9))
    assert here.outcome(run(KINDS[kind](here.watch(), here.eps), here)) == ([True] * 2, [True] * 2)
