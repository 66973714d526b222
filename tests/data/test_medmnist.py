"""MedMNIST archives: every kind of set by its shapes, folds and names kept, and hostile archives refused unread."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from radproof.data.images import read_image
from radproof.data.inventory import sample_id
from radproof.data.medmnist import read_medmnist, releases
from radproof.errors import BadData, UnknownName


def arrays(shape=(28, 28), labels=lambda rng, n: np.arange(n)[:, None] % 2, dtype=np.uint8, counts=(6, 4, 5)):
    rng = np.random.default_rng(0)
    made = {}
    for fold, count in zip(("train", "val", "test"), counts, strict=True):
        made[f"{fold}_images"] = rng.integers(0, 256, (count, *shape), dtype=dtype)
        made[f"{fold}_labels"] = labels(rng, count).astype(np.uint8)
    return made


def npz(path, made, packed=True):
    (np.savez_compressed if packed else np.savez)(path, **made)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("shape", "side"), [((28, 28), 28), ((64, 64), 64), ((28, 28, 3), 28), ((224, 224, 3), 224)])
def test_every_pixel_and_label_comes_through(tmp_path, shape, side, packed):
    made = arrays(shape)
    manifest = read_medmnist(npz(tmp_path / "pneumoniamnist_64.npz", made, packed), tmp_path / "out")
    assert (manifest.labels, manifest.head) == (("normal", "pneumonia"), "softmax")
    assert manifest.source["patients"] == "unknown"
    assert len(manifest) == 15
    by_id = {sample.id: sample for sample in manifest.samples}
    for fold, known in (("train", "train"), ("val", "validation"), ("test", "test")):
        for index, image in enumerate(made[f"{fold}_images"]):
            sample = by_id[sample_id(f"{fold}/{index}")]
            pixels = read_image(tmp_path / "out" / sample.path).pixels
            assert pixels.shape[:2] == (side, side)
            assert (pixels.squeeze() == image).all()
            label = made[f"{fold}_labels"][index, 0]
            assert (sample.fold, sample.labels) == (known, (manifest.labels[label],))
            assert sample.patient == ""


def test_findings_side_by_side_and_grades(tmp_path):
    def bits(rng, n):
        return np.concatenate([np.zeros((1, 14)), np.ones((1, 14)), rng.integers(0, 2, (n - 2, 14))])

    made = arrays(labels=bits)
    manifest = read_medmnist(npz(tmp_path / "chestmnist.npz", made), tmp_path / "chest", multi_label=True)
    assert manifest.head == "sigmoid"
    assert manifest.labels[:2] == ("atelectasis", "cardiomegaly")
    expected = np.concatenate([made[f"{fold}_labels"] for fold in ("train", "val", "test")])
    assert (manifest.targets() == expected).all()
    grades = arrays((28, 28, 3), lambda _, n: np.arange(n)[:, None] % 5, counts=(10, 5, 5))
    manifest = read_medmnist(npz(tmp_path / "retinamnist.npz", grades), tmp_path / "retina")
    assert manifest.labels == ("0", "1", "2", "3", "4")


def test_names_without_the_package_or_the_files_name(tmp_path, monkeypatch):
    made = arrays(labels=lambda _, n: np.arange(n)[:, None] % 3)
    named = read_medmnist(npz(tmp_path / "mine.npz", made), tmp_path / "a")
    assert named.labels == ("class 0", "class 1", "class 2")
    # more classes than the release of that name has: the file is another one
    assert read_medmnist(npz(tmp_path / "breastmnist.npz", made), tmp_path / "b").labels == named.labels
    monkeypatch.setattr("radproof.data.medmnist.find_spec", lambda _: None)
    two = npz(tmp_path / "pneumoniamnist.npz", arrays())
    assert read_medmnist(two, tmp_path / "c").labels == ("class 0", "class 1")


def test_the_packages_table_is_read_without_importing_it():
    known = releases()
    assert len(known) == 18
    assert known["breastmnist"]["label"] == {"0": "malignant", "1": "normal, benign"}
    assert len(known["pathmnist"]["MD5_224"]) == 32


def test_chosen_classes(tmp_path):
    path = npz(tmp_path / "x.npz", arrays(labels=lambda _, n: np.arange(n)[:, None] % 3, counts=(6, 6, 6)))
    manifest = read_medmnist(path, tmp_path / "out", classes=["class 2", "class 0"])
    assert manifest.counts() == {"class 2": 6, "class 0": 6}
    assert manifest.source["left_out"] == {"other classes": 6}
    with pytest.raises(UnknownName, match="'class 9'"):
        read_medmnist(path, tmp_path / "other", classes=["class 9"])


def refused(tmp_path, made, says, **how):
    with pytest.raises(BadData, match=says) as caught:
        read_medmnist(npz(tmp_path / "x.npz", made), tmp_path / "out", **how)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_volumes_are_refused_with_the_reason(tmp_path):
    refused(tmp_path, arrays((28, 28, 28)), "two-dimensional")
    refused(tmp_path, arrays((28, 28, 28, 1)), "two-dimensional")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train_images": np.zeros((6, 28, 28), np.float32)}, "expected uint8"),
        ({"train_images": np.full((6, 28), np.nan)}, "expected uint8"),
        ({"train_images": np.zeros((6, 2, 2000), np.uint8)}, "expected uint8"),
        ({"train_images": np.zeros((0, 28, 28), np.uint8)}, "announces uint8"),
        ({"train_labels": np.zeros((5, 1), np.uint8)}, "whole numbers for 6 images"),
        ({"train_labels": np.full((6, 1), np.nan)}, "whole numbers"),
        ({"train_labels": np.full((6, 1), -1)}, "run from -1"),
        ({"train_labels": np.full((6, 1), 10**6)}, "to 1000000"),
        ({"train_labels": np.zeros((6, 3), int)}, "columns"),
        ({"evil": np.zeros(3)}, "foreign member 'evil.npy'"),
    ],
)
def test_arrays_without_sense(tmp_path, change, says):
    refused(tmp_path, arrays() | change, says)


def test_one_class_each_is_no_multi_label(tmp_path):
    refused(tmp_path, arrays(), "one class each", multi_label=True)


def member(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def headed(header):
    return np.lib.format.magic(1, 0) + len(header).to_bytes(2, "little") + header


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def test_pickles_are_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = np.empty(1, object)
    hostile[0] = Payload()
    with pytest.raises(BadData, match="could run code"):
        read_medmnist(zipped(tmp_path / "x.npz", {"train_images.npy": member(hostile)}), tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    np.load(tmp_path / "x.npz", allow_pickle=True)["train_images"]  # what would have happened
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a NumPy array"),
        (b"no array at all", "is not a NumPy array"),
        (pickle.dumps([1]), "is not a NumPy array"),
        (headed(b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000000, 1000, 1000)}"), "announces uint8"),
        (headed(b"{'descr': '|u1', 'fortran_order': True, 'shape': (0, 28, 28)}"), "announces uint8"),
        (
            headed(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-5, 28, 28)}"),
            "announces uint8|not a NumPy",
        ),
        (headed(b"__import__('os').system('touch ran.txt')"), "is not a NumPy array"),
        (headed(b"(" * 9000), "is not a NumPy array"),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_lying_headers(tmp_path, monkeypatch, content, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadData, match=says):
        read_medmnist(zipped(tmp_path / "x.npz", {"train_images.npy": content}), tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.npz"]


def test_bombs_nested_and_damaged_archives(tmp_path):
    bomb = member(np.zeros((40, 1000, 1000), np.uint8))
    path = zipped(tmp_path / "bomb.npz", {"train_images.npy": bomb, "train_labels.npy": member(np.zeros((40, 1), int))})
    assert path.stat().st_size < len(bomb) / 500
    with pytest.raises(BadData, match=r"would swell from .* decompression bomb"):
        read_medmnist(path, tmp_path / "out")
    inner = zipped(tmp_path / "nested.npz", {"inner.zip": path.read_bytes()})
    with pytest.raises(BadData, match=r"foreign member 'inner\.zip'"):
        read_medmnist(inner, tmp_path / "out")
    for name in ("../train_images.npy", "/train_images.npy"):
        with pytest.raises(BadData, match="foreign member"):
            read_medmnist(zipped(tmp_path / "slip.npz", {name: b""}), tmp_path / "out")
    whole = npz(tmp_path / "whole.npz", arrays()).read_bytes()
    for cut in (0, 100, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.npz").write_bytes(whole[:cut])
        with pytest.raises(BadData, match="not a readable"):
            read_medmnist(tmp_path / "cut.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_flipped_byte_is_noticed(tmp_path):
    path = npz(tmp_path / "x.npz", arrays(), packed=False)
    content = bytearray(path.read_bytes())
    content[content.index(b"\n", 60) + 1000] ^= 255
    path.write_bytes(content)
    with pytest.raises(BadData, match="is damaged"):
        read_medmnist(path, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.parquet").exists()
