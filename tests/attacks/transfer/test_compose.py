# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass

import pytest
import torch
from torch import Generator, Tensor

from radproof.assess.parts import settle
from radproof.assess.sections import Part
from radproof.attacks import attack
from radproof.attacks.ascent import Ascent
from radproof.attacks.cost import gradients_per_image
from radproof.attacks.gradients import Flat, Plain, Through
from radproof.attacks.metered import Metered
from radproof.attacks.pool import Pool
from radproof.attacks.rules import Momentum, Nesterov
from radproof.attacks.transfer.chain import Chain
from radproof.attacks.transfer.compose import ESTIMATORS, SCALES, VIEWS
from radproof.attacks.transfer.gra import Paced, Relevant
from radproof.attacks.transfer.tim import Smoothed
from radproof.attacks.transfer.vmi import Varied
from radproof.core.goals import Misclassify
from radproof.errors import BadPlan


def pool(channels: int = 1) -> Pool:
    x = torch.rand(6, channels, 16, 16, generator=Generator().manual_seed(5))
    return Pool(x, torch.arange(6) % 3)


@dataclass(frozen=True)
class Digit:
    """Copy i of x is base * x + i: applied in a row they write a number."""

    copies: int
    base: int

    def copy(self, i: int, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        return x * self.base + i


def test_a_chain_shows_every_copy_of_every_copy_as_often_as_asked():
    chain = Chain((Digit(2, 10), Digit(3, 10)), repeats=2)
    shown = [int(chain.copy(i, torch.zeros(1), torch.zeros(1), Generator())) for i in range(chain.copies)]
    assert shown == [0, 10, 1, 11, 2, 12] * 2
    assert Chain((), 3).copies == 3


@pytest.mark.parametrize("name", VIEWS)
def test_the_bill_knows_how_many_copies_views_bring(name):
    assert VIEWS[name](pool()).copies == SCALES.get(name, 1)


@pytest.mark.parametrize("views", ["none", "dim", "sim", "sia+admix", "usmm+dim", "dim+sim+dim"])
@pytest.mark.parametrize("gradient", ESTIMATORS)
def test_its_bill_is_what_the_meter_reads(toy, images, views, gradient):
    params = {"views": views, "gradient": gradient, "copies": 2, "samples": 2, "steps": 1}
    meter, x = Metered(toy(), micro_batch=4), images(3)
    attack["compose"].make(params, pool=pool())(meter, x, Misclassify(torch.tensor([0, 1, 2])), rng=Generator())
    assert meter.backwards / 3 == meter.forwards / 3 == gradients_per_image("compose", attack["compose"].settle(params))


def test_parts_are_found_by_their_names():
    def made(**params) -> Ascent:
        return attack["compose"].make({"eps": 0.1, "steps": 5, **params}, pool=pool())

    plain = made(views="none", smooth=False, rule="momentum")
    assert (plain.gradient, plain.rule, plain.steps) == (Plain(), Momentum(1.0), 5)
    nested = made(views="sim+dim", gradient="variance", samples=4, copies=3, decay=0.5).gradient
    inner = Through(Chain((VIEWS["sim"](pool()), VIEWS["dim"](pool())), 3))
    assert nested == Smoothed(Varied(0.1 * 1.5, 4, inner))
    flat = made(views="none", gradient="flat", samples=4, smooth=False)
    assert flat.gradient == Flat(0.1 * 3.0, 0.1 / 5, 4)
    assert flat.rule == Nesterov(1.0)
    gra = made(views="none", gradient="relevance", samples=4, radius=2, rule="paced", smooth=False)
    assert (gra.gradient, gra.rule) == (Relevant(0.1 * 2, 4), Paced(1.0))


@pytest.mark.parametrize(
    ("same", "params"),
    [
        ("mi", {"views": "none", "rule": "momentum", "smooth": False}),
        ("ni", {"views": "none", "smooth": False}),
        ("tim", {"views": "none", "rule": "momentum"}),
        ("sim", {"views": "sim", "rule": "momentum", "smooth": False}),
        ("dim", {"views": "dim", "rule": "momentum", "smooth": False}),
        ("admix", {"views": "admix", "copies": 3, "rule": "momentum", "smooth": False}),
        ("sia", {"views": "sia", "copies": 20, "rule": "momentum", "smooth": False}),
        ("bsr", {"views": "bsr", "copies": 20, "rule": "momentum", "smooth": False}),
        ("pgn", {"views": "none", "gradient": "flat", "rule": "momentum", "smooth": False}),
        ("vmi", {"views": "none", "gradient": "variance", "rule": "momentum", "smooth": False}),
        ("gra", {"views": "none", "gradient": "relevance", "rule": "paced", "smooth": False}),
    ],
)
def test_its_published_parts_alone_are_the_published_attacks(toy, images, same, params):
    x, goal = images(3), Misclassify(torch.tensor([0, 1, 2]))

    def out(name: str, params: dict) -> Tensor:
        bound = {"pool": pool()} if attack[name].needs else {}
        return attack[name].make({"steps": 2, **params}, **bound)(toy(), x, goal, rng=Generator().manual_seed(1))

    assert torch.equal(out("compose", params), out(same, {}))


def test_a_plan_names_it_in_one_line():
    settled = settle(Part(name="compose[dim+sim]"), attack, "published")
    assert settled.label == "compose[dim+sim]"
    assert gradients_per_image("compose", settled.params) == 50


@pytest.mark.parametrize("views", ["dimm", "dim+", "", "dim,sim", "none+dim"])
def test_unknown_views_are_refused_by_name(views):
    with pytest.raises(BadPlan, match=r"compose: views: .*no views named"):
        attack["compose"].settle({"views": views})
