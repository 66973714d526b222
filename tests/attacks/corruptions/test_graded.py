# SPDX-License-Identifier: Apache-2.0
"""What every graded corruption keeps, and what each does, derived apart from the code."""

import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from radproof.attacks import corruption
from radproof.attacks.corruptions.graded import TABLE
from radproof.errors import BadInput, BadPlan
from radproof.measure.images import ssim

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "corruptions.md"
VARIANTS = [(name, {}) for name in TABLE] + [("blur", {"kind": "motion"})]
every = pytest.mark.parametrize(("name", "more"), VARIANTS, ids=[f"{n}-{m.get('kind', '')}" for n, m in VARIANTS])


def spoil(name: str, x: Tensor, severity: int = 3, seed: int = 1, **more: str) -> Tensor:
    return corruption[name].make({"severity": severity, **more})(x, rng=Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def films() -> Tensor:
    """Soft shadows with a little grain, from nearly black to nearly white."""
    rng = Generator().manual_seed(0)
    soft = gaussian_blur(torch.rand(6, 1, 96, 80, generator=rng), [25, 25], [4.0, 4.0])
    soft = (soft - soft.amin()) / (soft.amax() - soft.amin())
    return (0.1 + 0.8 * soft + 0.02 * torch.randn(soft.shape, generator=rng)).clamp(0, 1)


def flat(grey: float, side: int = 128, n: int = 1) -> Tensor:
    return torch.full((n, 1, side, side), grey)


@every
def test_a_higher_grade_leaves_less_of_the_image(films, name, more):
    likeness = [float(ssim(spoil(name, films, grade, **more), films).mean()) for grade in range(1, 6)]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] < 1
    assert min(a - b for a, b in pairwise(likeness)) > 0.002


@every
@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 8, 23), (3, 1, 31, 9), (0, 1, 8, 8)])
def test_any_size_and_colour_stays_an_image(name, more, shape):
    x = torch.rand(shape, generator=Generator().manual_seed(2))
    kept = x.clone()
    for grade in (1, 5):
        out = spoil(name, x, grade, **more)
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
        assert ((out >= 0) & (out <= 1)).all()
        assert torch.equal(out, spoil(name, x, grade, **more))
    assert torch.equal(x, kept)


@every
def test_batch_mates_change_nothing_and_equal_images_differ_where_chance_has_a_part(films, name, more):
    alone, together = spoil(name, films[:2], **more), spoil(name, films, **more)
    assert torch.equal(alone, together[:2])
    other = spoil(name, torch.cat([(films[:-1] * 0.5), films[-1:]]), **more)
    assert torch.equal(other[-1], together[-1])
    same = spoil(name, films[:1].repeat(8, 1, 1, 1), **more)
    by_chance = name not in ("over_exposure", "resize", "jpeg_artefacts") and (name, more) != ("blur", {})
    assert (len(torch.unique(same, dim=0)) > 1) == by_chance


@every
def test_grey_in_three_channels_stays_grey(films, name, more):
    grey, colour = spoil(name, films, **more), spoil(name, films.expand(-1, 3, -1, -1), **more)
    level = 0.02 if name == "jpeg_artefacts" else 1e-5  # the codec has its own way with colour
    torch.testing.assert_close(colour, grey.expand(-1, 3, -1, -1), atol=level, rtol=0)


@every
def test_it_is_visible_and_has_no_budget(name, more):
    assert corruption[name].threat == "visible"
    assert "eps" not in corruption[name].params.model_fields


@every
@pytest.mark.parametrize("params", [{"severity": 0}, {"severity": 6}, {"severity": 2.5}, {"eps": 0.1}])
def test_other_grades_are_refused(name, more, params):
    with pytest.raises(BadPlan):
        corruption[name].make({**more, **params})


def test_images_under_eight_pixels_are_refused():
    with pytest.raises(BadInput, match="at least 8x8"):
        spoil("gamma", torch.rand(1, 1, 7, 30))


def test_the_published_table_is_the_code():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    assert told == [
        [name, dial.meaning, *(f"{value:g}" for value in dial.values)]
        for name, dials in TABLE.items()
        for dial in dials
    ]
    assert f"is {len(TABLE)} corruptions" in re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("grey", "severity", "photons"), [(0.1, 1, 2000), (0.5, 1, 2000), (0.1, 4, 250), (0.6, 4, 250)]
)
def test_quantum_noise_is_that_of_counted_photons_and_of_the_electronics(grey, severity, photons):
    draw = np.random.default_rng(0)
    counts = 4 * draw.poisson(photons * math.exp(-3 * grey), 200_000) + 8 * draw.standard_normal(200_000)
    expected = -np.log(np.maximum(counts, 4) / (4 * photons)) / 3
    seen = spoil("quantum_noise", flat(grey), severity, seed=3)
    assert float(seen.std()) == pytest.approx(expected.std(), rel=0.02)
    assert float(seen.mean()) == pytest.approx(expected.mean(), abs=0.002)


def test_dose_moves_grey_by_its_logarithm():
    assert float(spoil("under_exposure", flat(0.3), 5).mean()) == pytest.approx(0.3 - math.log(0.4) / 3, abs=0.005)
    assert float(spoil("over_exposure", flat(0.6), 4).mean()) == pytest.approx(0.6 - math.log(2.4) / 3, abs=1e-6)
    assert float(spoil("over_exposure", flat(0.1), 4).max()) == 0  # the detector is full


def test_under_exposure_is_noisier_than_its_own_lack_of_light():
    grain = {grade: float(spoil("under_exposure", flat(0.3), grade).std()) for grade in (1, 5)}
    assert grain[5] > 1.3 * grain[1]


@pytest.mark.parametrize("kind", ["focal", "motion"])
def test_a_blur_spreads_a_point_as_the_table_says(kind):
    x = torch.zeros(1, 1, 121, 121)
    x[..., 60, 60] = 1.0
    out = spoil("blur", x, 4, kind=kind)[0, 0].double()
    assert float(out.sum()) == pytest.approx(1, abs=1e-3)
    places = torch.arange(121.0).double() - 60
    variances = [float((out.sum(axis) * places**2).sum()) for axis in (0, 1)]
    expected = (0.02 * 121) ** 2 * (2 if kind == "focal" else 1)  # both axes, or along one line
    assert sum(variances) == pytest.approx(expected, rel=0.2)


def test_a_small_copy_cannot_hold_fine_stripes():
    x = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    assert float(spoil("resize", x, 3)[..., 8:-8].std()) < 0.05


def test_a_window_cuts_off_what_lies_outside():
    ramp = torch.linspace(0, 1, 1001).expand(1, 1, 8, 1001)
    for seed in range(6):
        out = spoil("window_level", ramp, 5, seed)[0, 0, 0]
        slope = (out[450] - out[350]) / 0.1 if out[350] > 0 else (out[650] - out[550]) / 0.1
        assert float(slope) == pytest.approx(1 / 0.5, rel=1e-3)
        middle = float(ramp[0, 0, 0][(out - 0.5).abs().argmin()])
        assert min(abs(middle - 0.36), abs(middle - 0.64)) < 2e-3


def test_gamma_is_the_power_or_its_inverse():
    seen = {round(float(spoil("gamma", flat(0.5, 8), 4, seed).mean()), 4) for seed in range(12)}
    assert seen == {round(0.5**2.3, 4), round(0.5 ** (1 / 2.3), 4)}


def test_a_turned_ramp_has_the_slope_of_its_angle():
    ramp = torch.linspace(0, 1, 65).expand(1, 1, 65, 65)
    for seed in range(4):
        out = spoil("rotation", ramp, 4, seed)[0, 0]
        across, down = float(out[32, 42] - out[32, 22]), float(out[42, 32] - out[22, 32])
        assert abs(math.degrees(math.atan2(down, across))) == pytest.approx(11, abs=0.1)
    assert float(out[0, 0]) == 0  # the corners are laid bare


def test_stripes_have_the_amplitude_of_the_table_and_a_period_of_few_pixels():
    for seed in range(6):
        wave = (spoil("gridlines", flat(0.5), 4, seed) - 0.5)[0, 0].double()
        assert float(wave.std()) == pytest.approx(0.09 / math.sqrt(2), rel=0.03)
        spectrum = torch.fft.rfft2(wave).abs()
        row, column = divmod(int(spectrum.argmax()), spectrum.shape[1])
        frequency = math.hypot(min(row, 128 - row), column) / 128
        assert 1 / 6.3 < frequency < 1 / 2.8
        assert min(min(row, 128 - row), column) <= 3  # upright or lying


def test_a_letter_stands_in_one_corner_and_is_white():
    places, letters = set(), set()
    for seed in range(24):
        lead = spoil("marker", flat(0.3, 100), 5, seed)[0, 0] > 0.9
        rows, columns = lead.any(1).nonzero().flatten(), lead.any(0).nonzero().flatten()
        assert 20 <= len(rows) <= 26
        places.add((bool(rows[0] < 50), bool(columns[0] < 50)))
        assert bool(rows[-1] < 50) == bool(rows[0] < 50)
        box = lead[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        letters.add("R" if box[: len(box) // 4, -6:].any() else "L")
    assert places == {(True, True), (True, False), (False, True), (False, False)}
    assert letters == {"L", "R"}
