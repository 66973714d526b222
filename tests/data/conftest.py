"""Small data sets on disk, made by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from radproof.data.manifest import Manifest, Sample


@pytest.fixture
def film() -> Callable[..., np.ndarray]:
    """An 8-bit texture of its own for every seed: coarse shapes with fine detail."""

    def draw(seed: int, size: int = 96) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coarse, fine = (gaussian_filter(rng.normal(size=(size, size)), s) for s in (size / 12, size / 60))
        picture = coarse / coarse.std() + 0.6 * fine / fine.std()
        return np.clip(128 + 40 * picture, 0, 255).astype(np.uint8)

    return draw


@pytest.fixture
def saved() -> Callable[[Path, np.ndarray], Path]:
    """Save an array as an image file, in a folder made for it."""

    def save(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return save


@pytest.fixture
def cohort() -> Callable[..., Manifest]:
    """A manifest without files: 1 to 3 images per patient, two views, classes in the given numbers of patients."""

    def make(patients: dict[str, int], *, seed: int = 0, root: Path = Path("nowhere")) -> Manifest:
        rng = np.random.default_rng(seed)
        owners = [(label, f"{label}-{i}") for label, count in patients.items() for i in range(count)]
        samples = [
            Sample(f"{owner}.{k}", f"{owner}.{k}.png", owner, (label,), view=str(rng.choice(["AP", "PA"])))
            for label, owner in owners
            for k in range(int(rng.integers(1, 4)))
        ]
        return Manifest(root, tuple(patients), tuple(samples), "softmax", {"kind": "folder"})

    return make


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
NIH_ROWS = """\
00000001_000.png,No Finding,0,1,058Y,M,PA,2682,2749,0.143,0.143
00000001_001.png,Pneumonia,1,1,058Y,M,AP,2682,2749,0.143,0.143
00000002_000.png,Effusion|Pneumonia,0,2,81,F,PA,2500,2048,0.171,0.171
00000003_000.png,Pneumothorax,0,3,011M,F,AP,2500,2048,0.171,0.171
00000004_000.png,Pneumonia|Pneumothorax,0,4,414,M,PA,2500,2048,0.171,0.171
00000005_000.png,Effusion,0,5,30,M,PA,2500,2048,0.171,0.171
00000006_000.png,No Finding,0,6,44,F,PA,2500,2048,0.171,0.171
00000007_000.png,No Finding,0,7,45,F,PA,2500,2048,0.171,0.171
"""


@pytest.fixture
def release(tmp_path, film, saved) -> Callable[..., Path]:
    """A small NIH release; image 7 is not on disk."""

    def make(rows: str = NIH_ROWS, *, header: str = NIH_HEADER, name: str = "Data_Entry_2017_v2020.csv") -> Path:
        root = tmp_path / "nih"
        for i, image in enumerate(["1_000", "1_001", "2_000", "3_000", "4_000", "5_000", "6_000"]):
            folder = "images_002/images" if i > 4 else "images"
            saved(root / folder / f"0000000{image}.png", film(i, 24))
        (root / name).write_text(f"{header}\n{rows}")
        (root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n00000002_000.png\n")
        (root / "test_list.txt").write_text("00000003_000.png\r\n00000006_000.png\r\n")
        return root

    return make
