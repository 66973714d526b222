"""A network that was trained under attack resists honestly, and no check doubts it."""

import copy

import pytest

from radproof.assess.contenders import Contender


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_sound_adversarially_trained_network_raises_no_doubt(films, learn_under_attack, crash):
    material, fold = films
    hardened = learn_under_attack(copy.deepcopy(material.model), *fold)
    found = crash(material, {"hardened": Contender(hardened, "hardened", "cxrnet")})
    assert [doubt for doubt in found.doubts if doubt.severity == "serious"] == []
    assert {doubt.kind for doubt in found.doubts} <= {"training-data-not-verifiable"}
    at = {(c.defense, c.budget): c.robust_accuracy for c in found.cells if c.column == "headline"}
    assert at["hardened", "1/255"].n == 300
    assert at["hardened", "1/255"].low > at["none", "1/255"].high  # it has something to be doubted
