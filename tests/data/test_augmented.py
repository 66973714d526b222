"""Names that tell of augmentation, and whose copy it is."""

import pytest

from radproof.data.augmented import originals, says_augmented


@pytest.mark.parametrize(
    "path",
    ["aug_12.png", "x/AUG-3.png", "00012_001_aug.png", "12_aug3.png", "augmented/7.png", "a.augmentation.2.png"],
)
def test_names_of_augmented_copies(path):
    assert says_augmented(path)


@pytest.mark.parametrize(
    "path", ["august.png", "12-aug-2019.png", "laughing.png", "scan_12aug2019_3.png", "0123.png", "augsburg/1.png"]
)
def test_other_names(path):
    assert not says_augmented(path)


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("aug_00012_001.png", "00012_001"),
        ("aug_3_00012_001.png", "00012_001"),
        ("00012_001_aug.png", "00012_001"),
        ("00012_001_aug7.png", "00012_001"),
        ("x/00012_001_aug_7.png", "00012_001"),
        ("left_aug_right.png", "left_right"),
    ],
)
def test_the_original_is_among_the_guesses(path, stem):
    assert stem in originals(path)
