# SPDX-License-Identifier: Apache-2.0
"""Phantoms: the same bytes again, exact anatomy, and no class to be read off a thumbnail."""

from collections import Counter

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from radproof.data.phantom import LABELS, Phantom, draw, phantoms
from radproof.errors import BadInput


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A 16-bin histogram and 8 x 8 mean greys: what a look from across the room would tell."""
    cells = image.reshape(8, image.shape[0] // 8, 8, -1).mean((1, 3)).ravel() / 255
    return np.concatenate([np.histogram(image, 16, (0, 256))[0] / image.size, cells])


def detail(phantom: Phantom, region: np.ndarray) -> float:
    """Spread of structure finer than a rib in a region: vessels have it, free air has not."""
    grey = phantom.image.astype(np.float64)
    return float((grey - gaussian_filter(grey, 0.015 * grey.shape[0]))[region].std())


def trio(patient: int, size: int = 64) -> list[Phantom]:
    return [draw(label, size=size, seed=1, patient=patient) for label in LABELS]


@pytest.fixture(scope="module")
def films() -> list[Phantom]:
    return list(phantoms(360, size=64, seed=5))


def test_same_arguments_give_same_bytes_and_others_do_not():
    first, again = (draw("Pneumonia", size=64, seed=2, patient=7, image=1) for _ in range(2))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.lesion.tobytes() == again.lesion.tobytes()
    for other in ({"seed": 3}, {"patient": 8}, {"image": 2}):
        changed = draw("Pneumonia", **({"size": 64, "seed": 2, "patient": 7, "image": 1} | other))
        assert changed.image.tobytes() != first.image.tobytes()


def test_an_archive_is_the_same_again_and_starts_alike_whatever_is_read_of_it():
    first, again = (list(phantoms(9, size=32, seed=4)) for _ in range(2))
    assert [p.image.tobytes() for p in first] == [p.image.tobytes() for p in again]
    assert next(phantoms(9, size=32, seed=4)).image.tobytes() == first[0].image.tobytes()


@pytest.mark.parametrize("size", [32, 50, 64, 256])
@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_shapes_and_types(size: int, bits: int, dtype: type):
    phantom = draw("Pneumothorax", size=size, bits=bits)
    assert phantom.image.shape == phantom.lungs.shape == phantom.lesion.shape == (size, size)
    assert phantom.image.dtype == dtype
    assert phantom.lungs.dtype == phantom.lesion.dtype == np.bool_
    assert phantom.image.max() > 0.6 * (2**bits - 1)
    assert phantom.image.min() < 0.3 * (2**bits - 1)


def test_sixteen_bits_are_the_same_film_in_finer_steps():
    coarse, fine = (draw("Normal", size=64, bits=bits).image.astype(float) for bits in (8, 16))
    assert np.abs(coarse - fine / 257).max() <= 0.51


@pytest.mark.parametrize("label", LABELS)
def test_anatomy_scales_with_size(label: str):
    small, large = (draw(label, size=size, patient=3) for size in (64, 256))
    shrunk = large.image.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.corrcoef(shrunk.ravel(), small.image.ravel())[0, 1] > 0.98
    assert small.lungs.mean() == pytest.approx(large.lungs.mean(), rel=0.1)
    assert small.lesion.mean() == pytest.approx(large.lesion.mean(), rel=0.15, abs=1e-9)


def test_classes_are_in_equal_parts_and_patients_have_one_to_three_images(films: list[Phantom]):
    assert set(Counter(p.label for p in films).values()) == {120}
    assert max(Counter(p.label for p in phantoms(7, size=32)).values()) == 3
    assert set(Counter(p.patient for p in films[:-3]).values()) == {1, 2, 3}
    mixed = {p.patient for p in films if any(q.patient == p.patient and q.label != p.label for q in films)}
    assert len(mixed) > 20


def test_lesion_is_exact_and_lies_in_the_lungs(films: list[Phantom]):
    for phantom in films:
        assert phantom.lesion.any() == (phantom.label != "Normal")
        assert not (phantom.lesion & ~phantom.lungs).any()
        assert 0.12 < phantom.lungs.mean() < 0.5


def test_lungs_are_darker_than_the_mediastinum_and_the_heart_is_on_the_images_right(films: list[Phantom]):
    for phantom in films[:60]:
        assert phantom.image[phantom.lungs].mean() < phantom.image[24:60, 28:36].mean() - 30
    right, left = (np.mean([p.lungs[32:, part].sum() for p in films]) for part in (slice(0, 32), slice(32, 64)))
    assert right > 1.1 * left


def test_a_patient_keeps_age_sex_and_build():
    shots = [draw("Normal", size=64, patient=12, image=image) for image in range(8)]
    assert len({(p.patient, p.age, p.sex) for p in shots}) == 1
    assert shots[0].patient == "phantom-0012"
    assert len({p.image.tobytes() for p in shots}) == 8
    build = [[draw("Normal", size=64, patient=p, image=i).lungs.sum() for i in range(6)] for p in range(12)]
    assert np.std(build, axis=1).mean() < np.std(build)


def test_the_label_changes_the_sign_alone():
    for patient in range(10):
        bodies = trio(patient)
        assert len({(p.view, p.age, p.sex, p.lungs.tobytes()) for p in bodies}) == 1


def test_view_age_and_sex_do_not_tell_the_label(films: list[Phantom]):
    assert {p.view for p in films} == {"PA", "AP"}
    assert {p.sex for p in films} == {"F", "M"}
    for trait in (lambda p: p.view == "AP", lambda p: p.sex == "F", lambda p: p.age > 54):
        rates = [np.mean([trait(p) for p in films if p.label == label]) for label in LABELS]
        assert max(rates) - min(rates) < 0.2


def test_an_ap_heart_leaves_less_lung(films: list[Phantom]):
    lungs = {view: np.mean([p.lungs.sum() for p in films if p.view == view]) for view in ("PA", "AP")}
    assert lungs["AP"] < lungs["PA"]


def test_no_vessels_beyond_the_pleural_line():
    free, normal = [], []
    for patient in range(12):
        healthy, _, collapsed = trio(patient, size=128)
        beyond = binary_erosion(collapsed.lesion, iterations=4)
        free.append(detail(collapsed, beyond))
        normal.append(detail(healthy, beyond))
    assert np.max(np.divide(free, normal)) < 1
    assert np.median(np.divide(free, normal)) < 0.85


@pytest.mark.parametrize("size", [64, 128])
def test_the_pleural_line_is_bright_against_both_sides(size: int):
    rises = []
    for patient in range(12):
        healthy, _, collapsed = trio(patient, size)
        line = (
            collapsed.lesion & ~binary_erosion(collapsed.lesion) & binary_erosion(healthy.lungs, iterations=size // 32)
        )
        change = collapsed.image.astype(float) - healthy.image
        rises.append(change[line].mean() - np.median(change[healthy.lungs]))
    assert np.mean(rises) > 4


def test_consolidation_is_mottled():
    gains = []
    for patient in range(12):
        healthy, filled, _ = trio(patient)
        gains.append(detail(filled, filled.lesion) / detail(healthy, filled.lesion))
    assert min(gains) > 1
    assert np.median(gains) > 1.3


def test_a_thumbnail_does_not_tell_the_class(films: list[Phantom]):
    x = np.stack([thumbnail(p.image) for p in films])
    y = np.array([LABELS.index(p.label) for p in films])
    readers = [
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        RandomForestClassifier(100, random_state=0),
    ]
    for reader in readers:
        guess = reader.fit(x[:240], y[:240]).predict_proba(x[240:])
        assert roc_auc_score(y[240:], guess, multi_class="ovr", average="macro") <= 0.6
        assert (guess.argmax(1) == y[240:]).mean() <= 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "Fracture"}, "label is 'Fracture', expected one of Normal, Pneumonia, Pneumothorax: choose"),
        ({"label": "Normal", "size": 31}, "size is 31, expected at least 32 pixels: ask for a larger picture"),
        ({"label": "Normal", "bits": 12}, "bits is 12, expected 8 or 16: choose"),
    ],
)
def test_bad_input_says_what_to_do(arguments: dict[str, object], message: str):
    with pytest.raises(BadInput, match=message):
        draw(**arguments)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (0, {}, "count is 0, expected at least 1: ask"),
        (3, {"size": 8}, "size is 8, expected at least 32 pixels: ask"),
        (3, {"bits": 9}, "bits is 9, expected 8 or 16: choose"),
    ],
)
def test_an_archive_refuses_before_the_first_film(count: int, options: dict[str, int], message: str):
    with pytest.raises(BadInput, match=message):
        phantoms(count, **options)
