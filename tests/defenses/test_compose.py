# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from radproof.core.rng import generator
from radproof.defenses import defense
from radproof.defenses.compose import Composed
from radproof.defenses.jpeg import Jpeg
from radproof.defenses.noise import Noise
from radproof.defenses.tvm import Tvm
from radproof.errors import BadPlan

RECIPE = defense["compose"]


def test_parts_stand_in_their_order_with_their_parameters():
    made = RECIPE.make({"parts": ["jpeg", {"name": "tvm", "lam": 0.05}, {"name": "noise", "params": {"sigma": 0.2}}]})
    assert made == Composed((Jpeg(), Tvm(lam=0.05), Noise(0.2)))
    assert (made.deterministic, made.ways, made.votes) == (False, ("twin",), 32)


def test_the_preset_reaches_the_parts_and_what_is_given_wins():
    parts = {"parts": ["random_resize_pad", "noise"]}
    votes = [RECIPE.make(parts, preset=preset).votes for preset in ("quick", "published", "exhaustive")]
    assert votes == [8, 32, 100]
    assert RECIPE.make({"parts": [{"name": "noise", "votes": 3}]}, preset="exhaustive").votes == 3


def test_a_row_may_stand_in_a_row():
    inner = {"name": "compose", "parts": ["median", {"name": "bit_depth", "bits": 3}]}
    made = RECIPE.make({"parts": [inner, "jpeg"]})
    assert made.parts[0] == RECIPE.make({"parts": ["median", {"name": "bit_depth", "bits": 3}]})


def test_settled_parameters_make_the_same_part_again():
    settled = RECIPE.settle({"parts": ["jpeg", {"name": "tvm", "lam": 0.05}]}, "quick")
    assert settled == {"parts": ({"name": "jpeg"}, {"name": "tvm", "lam": 0.05}), "preset": "quick"}
    assert RECIPE.make(settled) == RECIPE.make({"parts": ["jpeg", {"name": "tvm", "lam": 0.05}]}, preset="quick")


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ("jpeg", "list of defences"),
        ([], "parts"),
        (["jpg"], "did you mean"),
        ([{"lam": 0.1}], "name"),
        ([7], "name"),
        ([{"name": "tvm", "lam": -1}], "tvm: lam"),
        ([{"name": "tvm", "lambda": 1}], "no parameter 'lambda'"),
        ([{"name": "tvm", "params": None}], "name with parameters"),
        ([{"name": "tvm", "params": {}, "lam": 1}], "name with parameters"),
    ],
)
def test_what_is_no_row_of_defences_is_refused(parts, says):
    with pytest.raises(BadPlan, match=says):
        RECIPE.make({"parts": parts})


def test_random_parts_draw_one_after_the_other_and_their_twins_alike():
    x = torch.rand(2, 1, 16, 16, generator=generator(1))
    made = Composed((Noise(0.1), Noise(0.1)))
    rng = generator(0)
    assert torch.equal(made(x, rng=generator(0)), Noise(0.1)(Noise(0.1)(x, rng=rng), rng=rng))
    assert torch.equal(made.surrogate(x, rng=generator(0)), made(x, rng=generator(0)))
