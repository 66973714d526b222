# SPDX-License-Identifier: Apache-2.0
"""Numbers beside the model's answer: values, slopes, and what goes wrong with detectors."""

import pytest
import torch

from radproof.attacks.aware.measured import Measured, headroom
from radproof.core.types import Watch
from radproof.errors import BadModel, NoGradient

Z = torch.rand(5, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_every_piece_knows_its_rows():
    factors = torch.arange(5.0).double()
    asked = []

    def measure(z, rows):
        asked.append(rows.tolist())
        return factors[rows] * z.square().sum((1, 2, 3))

    values, slope = Measured(measure, 2, "it").climb(Z)
    assert asked == [[0, 1], [2, 3], [4]]
    assert torch.allclose(values, factors * Z.square().sum((1, 2, 3)))
    assert torch.allclose(slope, 2 * factors.view(-1, 1, 1, 1) * Z)
    assert torch.allclose(Measured(measure, 2, "it")(Z), values)


def test_fewer_images_at_once_where_graphs_are_kept():
    sizes = []
    watch = Watch(lambda z: (sizes.append(len(z)), z.mean((1, 2, 3)))[1], 0.5, 0.1)
    under = headroom(watch, 16)
    under.climb(Z)
    under(Z)
    assert sizes == [2, 2, 1, 5]


def test_headroom_is_counted_in_spreads_under_the_threshold():
    watch = Watch(lambda z: z.mean((1, 2, 3)), 0.7, 0.1)
    room, slope = headroom(watch, 8).climb(torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64))
    assert float(room) == pytest.approx(2.0)
    assert torch.allclose(slope, torch.full_like(slope, -0.25 / 0.1))


@pytest.mark.parametrize("spread", [0.0, float("nan")])
def test_a_detector_without_spread_is_measured_in_its_own_units(spread):
    watch = Watch(lambda z: z.mean((1, 2, 3)), 0.7, spread)
    assert headroom(watch, 8)(torch.full((1, 1, 2, 2), 0.5)).tolist() == pytest.approx([0.2])


def test_a_broken_row_is_the_worst_and_has_no_slope_and_spoils_no_other():
    def measure(z, rows):
        return torch.where(rows == 1, torch.nan, 1.0) * z.sum((1, 2, 3))

    values, slope = Measured(measure, 8, "it").climb(Z)
    assert values[1] == -torch.inf
    assert values[[0, 2, 3, 4]].isfinite().all()
    assert (slope.flatten(1).abs().sum(1) > 0).tolist() == [True, False, True, True, True]


@pytest.mark.parametrize(
    "blind", [lambda z: (z > 0.5).double().mean((1, 2, 3)), lambda z: torch.ones(len(z), requires_grad=True) * 2]
)
def test_what_has_no_gradient_is_refused_by_name(blind):
    with pytest.raises(NoGradient, match="the detector's suspicion has no gradient"):
        headroom(Watch(blind, 0.5, 0.1), 8).climb(Z)
    assert headroom(Watch(blind, 0.5, 0.1), 8)(Z).shape == (5,)


def test_one_number_per_image_is_expected():
    with pytest.raises(BadModel, match=r"gave \(5, 1\) for 5 images"):
        headroom(Watch(lambda z: z.mean((2, 3)), 0.5, 0.1), 8)(Z)
