"""Altered copies are found and different films are not, on drawn textures and on real radiographs."""

import io

import numpy as np
import pytest
from PIL import Image

from radproof.core.depth import EIGHT, SIXTEEN
from radproof.core.progress import SILENT
from radproof.data.images import StoredImage, read_image
from radproof.data.twins import find_twins, thumbnail


def jpeg(film):
    stream = io.BytesIO()
    Image.fromarray(film).save(stream, "JPEG", quality=40)
    return np.asarray(Image.open(stream))


def turned(film, degrees=5):
    return np.asarray(Image.fromarray(film).rotate(degrees, Image.Resampling.BILINEAR))


def shifted(film, part=0.05):
    by = round(part * len(film))
    return np.roll(film, (by, -by), (0, 1))


def cropped(film, part=0.04):
    edge = round(part * len(film))
    return np.asarray(Image.fromarray(film[edge:-edge, edge:-edge]).resize(film.shape))


def brighter(film):
    return np.clip(film * 1.15 + 5, 0, 255).astype(np.uint8)


ALTERATIONS = {
    "jpeg": jpeg,
    "turned": turned,
    "shifted": shifted,
    "cropped": cropped,
    "brighter": brighter,
    "mirrored": np.fliplr,
    "mirrored and turned": lambda film: turned(np.fliplr(film), -4),
    "all": lambda film: jpeg(brighter(turned(shifted(cropped(film), 0.03), 3))),
}


def thumbs(films):
    return np.stack([thumbnail(StoredImage(np.ascontiguousarray(film)[:, :, None], EIGHT)) for film in films])


@pytest.mark.parametrize("name", ALTERATIONS)
def test_altered_copies_are_found_and_nothing_else(film, name):
    originals = [film(seed, 192) for seed in range(12)]
    copies = [ALTERATIONS[name](original) for original in originals[:5]]
    found = find_twins(thumbs([*originals, *copies]), ["train"] * 12 + ["test"] * 5, SILENT)
    assert {(match.a, match.b) for match in found} == {(i, 12 + i) for i in range(5)}
    assert all(match.mirrored == ("mirrored" in name) for match in found)
    assert all(match.likeness > 0.93 for match in found)


def test_copies_within_a_fold_and_flat_images_are_no_matter(film):
    flat = np.full((192, 192), 9, np.uint8)
    pictures = thumbs([film(0), film(0), flat, film(1), flat])
    assert not find_twins(pictures, ["train", "train", "train", "test", "test"], SILENT)
    assert not find_twins(pictures, [""] * 5, SILENT)
    assert not find_twins(pictures[:0], [], SILENT)


def test_three_folds_are_compared_with_one_another(film):
    pictures = thumbs([film(0), film(1), film(2), film(1), film(2), film(0)])
    folds = ["train", "train", "validation", "validation", "test", "test"]
    assert {(m.a, m.b) for m in find_twins(pictures, folds, SILENT)} == {(0, 5), (1, 3), (2, 4)}


def test_thumbnails_are_area_averages():
    ramp = np.arange(128 * 128, dtype=np.uint16).reshape(128, 128)
    expected = ramp.reshape(64, 2, 64, 2).mean((1, 3)) / 65535
    np.testing.assert_allclose(thumbnail(StoredImage(ramp[:, :, None], SIXTEEN)), expected, atol=1e-6)


def test_measured_rates_on_real_radiographs(shared):
    """The docstring's rates, on fewer films, copied in one of eight ways in turn."""
    files = sorted((shared / "data" / "nih-chestxray14-320" / "images").iterdir())[::6]
    films = [read_image(file).pixels[:, :, 0] for file in files]
    ways = list(ALTERATIONS.values())
    copies = [ways[i % len(ways)](film) for i, film in enumerate(films[::4])]
    found = find_twins(thumbs([*films, *copies]), ["train"] * len(films) + ["test"] * len(copies), SILENT)
    pairs = {(match.a, match.b) for match in found}
    made = {(4 * i, len(films) + i) for i in range(len(copies))}
    assert len(pairs & made) >= 0.95 * len(made)
    assert not pairs - made
