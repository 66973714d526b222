# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass

import pytest
import torch

from radproof.detectors.paired_check import paired_check
from radproof.errors import BadInput


@dataclass(frozen=True)
class Brightness:
    """The brighter, the likelier Pneumonia."""

    slope: float = 10.0
    head: str = "softmax"
    labels: tuple[str, ...] = ("Normal", "Pneumonia")
    micro_batch: int = 2

    def __call__(self, x):
        level = self.slope * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-level, level], dim=1)


def image(level):
    return torch.full((1, 1, 16, 16), level)


def fired(found):
    rules = ("structure", "confidence", "difference", "label")
    return {rule for rule in rules if getattr(found, rule).item()}


def test_an_identical_copy_raises_nothing():
    found = paired_check(image(0.3), image(0.3), Brightness())
    assert fired(found) == set()
    assert not found.flagged.item()


def test_each_rule_by_itself():
    # 19 and 21 grey levels darker: a uint8 difference would wrap around to 237
    assert fired(paired_check(image(0.5), image(0.5 - 19 / 255), Brightness(slope=0))) == set()
    assert fired(paired_check(image(0.5), image(0.5 - 21 / 255), Brightness(slope=0))) == {"difference"}
    # p(Normal) from sigmoid(1) = 0.73 to sigmoid(0.2) = 0.55
    assert fired(paired_check(image(0.45), image(0.49), Brightness())) == {"confidence"}
    # p(Normal) from sigmoid(0.2) to sigmoid(-0.2)
    assert fired(paired_check(image(0.49), image(0.51), Brightness())) == {"label"}
    noise = torch.where(torch.rand(1, 1, 16, 16) > 0.5, 0.02, -0.02)
    assert fired(paired_check(image(0.3), image(0.3) + noise, Brightness(slope=0))) == {"structure"}


def test_the_label_rule_can_be_left_out():
    found = paired_check(image(0.49), image(0.51), Brightness())
    assert found.flagged.item()
    assert not found.flagged_without_label.item()


def test_sigmoid_heads_look_at_every_finding():
    model = Brightness(slope=1.0, head="sigmoid")
    assert fired(paired_check(image(0.49), image(0.51), model)) == {"label"}
    assert fired(paired_check(image(0.45), image(0.46), model)) == set()


def test_pairs_are_judged_one_by_one():
    x = torch.cat([image(0.3), image(0.49), image(0.3)])
    y = torch.cat([image(0.3), image(0.51), image(0.3)])
    assert paired_check(x, y, Brightness()).flagged.tolist() == [False, True, False]


def test_pairs_must_match():
    with pytest.raises(BadInput, match="pairs of one shape"):
        paired_check(image(0.3), image(0.3)[..., 1:], Brightness())
