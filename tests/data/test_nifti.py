"""NIfTI: slices upright whatever the file's axes, windows by hand, and headers that lie."""

import gzip
import itertools
import struct

import nibabel
import numpy as np
import pytest

from radproof.data.images import read_image
from radproof.data.inventory import pseudonym, secret_of
from radproof.data.nifti import read_nifti
from radproof.data.volumes import Volumes, read_grid
from radproof.errors import BadData, BadImage, BadInput, BadPlan, UnknownName

SHAPE = (5, 6, 7)  # along right, anterior, superior


def ramp(shape=SHAPE):
    """A value that tells where it lies: right + 10 anterior + 100 superior."""
    x, y, z = np.indices(shape)
    return (x + 10 * y + 100 * z).astype(np.int16)


def save(path, voxels, affine=None, **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    slope, inter = header.pop("slope", None), header.pop("inter", None)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    if slope is not None:  # nibabel computes its own on saving
        raw = bytearray(path.read_bytes())
        raw[112:120] = struct.pack("<ff", slope, inter)
        path.write_bytes(raw)
    return path


def table(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path / "labels.csv"


def plane(path, axis=2, index=0, voi="minmax"):
    return Volumes().plane(path, read_grid(path), axis, index, voi)


def shown(plane, low, high):
    """Back to values."""
    return plane / 65535 * (high - low) + low


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (-1, -1, 1)])
def test_right_is_left_and_up_is_up_whatever_the_files_axes(tmp_path, order, flips):
    upright = ramp()
    stored = np.transpose(upright, order)[tuple(slice(None, None, flip) for flip in flips)]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        affine[axis, column] = flip * 1.5
        affine[axis, 3] = 0 if flip == 1 else 1.5 * (SHAPE[axis] - 1)
    path = save(tmp_path / "v.nii.gz", np.ascontiguousarray(stored), affine)
    right, anterior, superior = (np.arange(side)[::-1] for side in SHAPE)
    low, high = 0, int(upright.max())
    expected = {  # rows from above, columns from the left of the picture
        2: right[None, :] + 10 * anterior[:, None] + 100 * 3,
        1: right[None, :] + 10 * 3 + 100 * superior[:, None],
        0: 3 + 10 * anterior[None, :] + 100 * superior[:, None],
    }
    for axis, values in expected.items():
        assert np.abs(shown(plane(path, axis, 3), low, high) - values).max() < 0.01


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", ">f4", "<f8"])
def test_every_kind_of_number_and_byte_order(tmp_path, dtype):
    voxels = (ramp((4, 4, 1)) % 100).astype(dtype)
    image = nibabel.Nifti2Image if dtype == ">f4" else nibabel.Nifti1Image
    made = image(voxels, np.eye(4), dtype=voxels.dtype)
    if dtype.startswith(">"):
        made = image(voxels, np.eye(4), made.header.as_byteswapped(">"), dtype=voxels.dtype)
    nibabel.save(made, tmp_path / "v.nii")
    assert read_grid(tmp_path / "v.nii").dtype == np.dtype(dtype)
    assert np.abs(shown(plane(tmp_path / "v.nii"), 0, int(voxels.max())) - voxels[::-1, ::-1, 0].T).max() < 0.01


def test_windows_by_hand(tmp_path):
    voxels = np.array([-1000, 0, 40, 80, 3000], np.int16).reshape(5, 1, 1)
    path = save(tmp_path / "v.nii", voxels)
    line = plane(path, voi=(40, 80))[0, ::-1]
    assert line.tolist() == [0, 0, 32768, 65535, 65535]
    assert plane(path, voi="minmax")[0, ::-1].tolist() == [0, 16384, 17039, 17694, 65535]
    cal = save(tmp_path / "c.nii", voxels, cal_min=0, cal_max=80)
    assert plane(cal, voi="file")[0, ::-1].tolist() == [0, 0, 32768, 65535, 65535]
    assert (plane(path, voi="file") == plane(path, voi="percentiles")).all()
    low, high = np.percentile(voxels, (0.5, 99.5))
    assert plane(path, voi="file")[0, ::-1][2] == round((40 - low) / (high - low) * 65535)


@pytest.mark.parametrize(("slope", "inter"), [(2.0, -100.0), (-1.0, 0.0), (0.0, 77.0), (float("nan"), 5.0)])
def test_scaling(tmp_path, slope, inter):
    voxels = ramp((5, 1, 1))
    path = save(tmp_path / "v.nii", voxels, slope=slope, inter=inter)
    values = voxels.ravel().astype(float) * slope + inter if slope in (2, -1) else voxels.ravel()
    expected = (values - values.min()) / (values.max() - values.min())
    assert np.abs(plane(path)[0, ::-1] / 65535 - expected).max() < 1e-4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_infinity_constants_and_huge_values(tmp_path):
    voxels = np.array([np.nan, 0, 5, 10, np.inf, -np.inf], np.float32).reshape(6, 1, 1)
    line = plane(save(tmp_path / "v.nii", voxels))[0, ::-1]
    assert line.tolist() == [0, 0, 32768, 65535, 65535, 0]
    assert not plane(save(tmp_path / "c.nii", np.full((3, 3, 3), 7, np.int16))).any()
    with pytest.raises(BadImage, match="only NaN"):
        plane(save(tmp_path / "n.nii", np.full((3, 3, 3), np.nan, np.float32)))
    with pytest.raises(BadImage, match="beyond all numbers"):
        plane(save(tmp_path / "h.nii", np.array([-1e308, 1e308]).reshape(2, 1, 1)))


def test_a_data_set_of_volumes(tmp_path):
    for number in range(3):
        save(tmp_path / "in" / f"s{number}" / "scan.nii.gz", ramp() + np.int16(number))
    save(tmp_path / "in" / "other.nii", ramp())
    labels = table(
        tmp_path, "path,label,patient\ns0/scan.nii.gz,a,Doe^J\ns1/scan,b,\ns2/scan.nii.gz#4,b,Doe^J\n9.nii,a,\n"
    )
    manifest = read_nifti(tmp_path / "in", tmp_path / "out", labels=labels)
    assert (manifest.labels, manifest.head) == (("a", "b"), "softmax")
    assert manifest.counts() == {"a": 7, "b": 8}
    assert manifest.source["left_out"] == {"volumes without a row": 1, "rows without a slice": 1}
    doe = [
        sample for sample in manifest.samples if sample.patient == pseudonym("Doe^J", secret_of(labels, "pseudonyms"))
    ]
    assert len(doe) == 8
    assert {sample.patient for sample in manifest.samples if sample not in doe} == {pseudonym("s1/scan.nii.gz")}
    last = doe[-1]
    assert last.chain[0] == {"step": "slice", "axis": "axial", "index": 4}
    stored = read_image(manifest.root / last.path)
    assert stored.depth.top == 65535
    low, high = np.percentile(ramp() + 2, (0.5, 99.5))
    expected = np.clip((ramp()[::-1, ::-1, 4].T + 2 - low) / (high - low), 0, 1)
    assert np.abs(stored.pixels[:, :, 0] / 65535 - expected).max() < 1e-4


def test_a_row_is_of_one_volume(tmp_path):
    for folder in ("p1", "p2"):
        save(tmp_path / "in" / folder / "scan.nii.gz", ramp())
    for key in ("scan", "scan.nii.gz#2"):
        labels = table(tmp_path, f"id,label\n{key},a\nother,b\n")
        with pytest.raises(BadData, match=r"line 2: the row fits two images, 'p1/scan.nii.gz' and 'p2/scan.nii.gz'"):
            read_nifti(tmp_path / "in", tmp_path / "out", labels=labels)


@pytest.mark.parametrize(
    ("how", "indices"),
    [
        ({"slices": "middle"}, [3]),
        ({"slices": 3}, [0, 3, 6]),
        ({"slices": 2, "axis": "coronal"}, [1, 3, 5]),
        ({"slices": "all", "axis": "sagittal"}, [0, 1, 2, 3, 4]),
    ],
)
def test_which_slices(tmp_path, how, indices):
    for name in "ab":
        save(tmp_path / f"{name}.nii.gz", ramp())
    labels = table(tmp_path, "id,label\na,x\nb,y\n")
    manifest = read_nifti(tmp_path, tmp_path / "out", labels=labels, voi=(300, 600), **how)
    assert [sample.chain[0]["index"] for sample in manifest.samples] == indices * 2


def test_what_cannot_be_asked_for(tmp_path):
    path = save(tmp_path / "a.nii", ramp())
    labels = table(tmp_path, "id,label\na,x\nb,y\n")
    for how, error, says in (
        ({"voi": "bone"}, UnknownName, "no window named 'bone'"),
        ({"voi": (40, 0)}, BadPlan, "width above 0"),
        ({"voi": (float("nan"), 5)}, BadPlan, "width above 0"),
        ({"axis": "axal"}, UnknownName, "did you mean 'axial'"),
        ({"slices": 0}, BadPlan, "every nth"),
        ({"labels": None}, BadPlan, "need a table"),
        ({}, BadData, "no image shows the class y"),
    ):
        with pytest.raises(error, match=says):
            read_nifti(path, tmp_path / "out", **{"labels": labels, **how})
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match=r"no \.nii"):
        read_nifti(tmp_path / "empty", tmp_path / "out", labels=labels)
    assert not (tmp_path / "out").exists()


def test_without_nibabel(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii", ramp())
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(BadInput, match=r"pip install 'radproof\[nifti\]'"):
        read_grid(path)


def patched(path, at, raw):
    content = bytearray(path.read_bytes())
    content[at : at + len(raw)] = raw
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("at", "raw", "says"),
    [
        (0, b"\0\0\0\0", "no NIfTI header"),
        (344, b"ni1\0", "pairs of .hdr"),
        (344, b"abc\0", "pairs of .hdr"),
        (40, struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1), "announces 54,000,000,000,000 bytes"),
        (40, struct.pack("<8h", 3, -5, 6, 7, 1, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 3, 0, 6, 7, 1, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 4, 5, 6, 7, 9, 1, 1, 1), "a series or channels"),
        (40, struct.pack("<8h", 0, 5, 6, 7, 1, 1, 1, 1), "dimensions"),
        (70, struct.pack("<h", 128), "not supported"),  # RGB24
        (70, struct.pack("<h", 32), "not supported"),  # complex
        (70, struct.pack("<h", 999), "no readable NIfTI"),
        (108, struct.pack("<f", float("nan")), "byte nan"),
        (108, struct.pack("<f", -9), "byte -9"),
        (108, struct.pack("<f", 1e30), "byte 1e"),
        (280, struct.pack("<12f", *[float("nan")] * 12), "how the volume lies"),
        (280, struct.pack("<12f", *[0.0] * 12), "how the volume lies"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_headers_of_nonsense(tmp_path, at, raw, says):
    with pytest.raises(BadImage, match=says) as caught:
        read_grid(patched(save(tmp_path / "v.nii", ramp()), at, raw))
    assert caught.value.exit_code == 2
    assert str(tmp_path) not in str(caught.value)


def test_a_header_that_promises_more_than_the_file_has(tmp_path):
    path = patched(save(tmp_path / "v.nii", ramp()), 40, struct.pack("<8h", 3, 500, 500, 500, 1, 1, 1, 1))
    with pytest.raises(BadImage, match="ends after 420 of 250,000,000 bytes"):
        plane(path)


def test_gzip_bombs_are_read_no_further_than_the_header_tells(tmp_path):
    save(tmp_path / "v.nii", ramp())
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress((tmp_path / "v.nii").read_bytes() + bytes(300 * 1024**2)))
    assert bomb.stat().st_size < 400_000
    assert (plane(bomb) == plane(tmp_path / "v.nii")).all()
    with pytest.raises(BadImage, match="more than the limit of 400"):
        read_grid(bomb, max_volume=400)
    far = patched(save(tmp_path / "far.nii", ramp()), 108, struct.pack("<f", 60 * 1024**2))
    with pytest.raises(BadImage, match="truncated or damaged"):
        plane(far)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_every_cut_of_a_file_is_refused(tmp_path, name):
    content = save(tmp_path / name, ramp()).read_bytes()
    for cut in range(0, len(content) - 9, 61):
        (tmp_path / name).write_bytes(content[:cut])
        with pytest.raises(BadImage):
            plane(tmp_path / name)
