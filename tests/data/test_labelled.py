"""A folder of images beside a table: who is in, who is left out, and what leads out of the folder."""

import numpy as np
import pytest

from radproof.data.inventory import pseudonym, sample_id, secret_of
from radproof.data.labelled import read_labelled
from radproof.errors import BadData, UnknownName


@pytest.fixture
def root(tmp_path, saved):
    for number, name in enumerate(["one.png", "deep/er/two.jpg", "deep/three.tif", "four.png", ".hidden/five.png"]):
        saved(tmp_path / "set" / name, np.full((8, 8), number * 20, np.uint8))
    (tmp_path / "set" / "notes.txt").write_text("not an image")
    return tmp_path / "set"


def csv(root, text, name="labels.csv"):
    (root / name).write_text(text)
    return root / name


def test_images_with_rows_are_in_and_the_rest_is_counted(root):
    table = csv(
        root,
        "path,label,patient,split\none.png,b,7,train\ndeep/er/two.jpg,a,8,test\nthree,b,7,train\ngone.png,a,9,train\n",
    )
    manifest = read_labelled(root, table)
    assert (manifest.labels, manifest.head, manifest.root) == (("a", "b"), "softmax", root)
    key = secret_of(table, "pseudonyms")
    found = {sample.path: (sample.labels[0], sample.patient, sample.fold) for sample in manifest.samples}
    assert found == {
        "one.png": ("b", pseudonym("7", key), "train"),
        "deep/er/two.jpg": ("a", pseudonym("8", key), "test"),
        "deep/three.tif": ("b", pseudonym("7", key), "train"),
    }
    assert manifest.source["left_out"] == {"images without a row": 1, "other file types": 1, "rows without an image": 1}
    assert manifest.source["patients"] == "table"
    for sample in manifest.samples:
        assert sample.id == sample_id(sample.path)
        assert sample.size == (root / sample.path).stat().st_size
    assert not [file for file in root.parent.rglob("*.png") if "set" not in file.parts]  # no copies


def test_findings_side_by_side(root):
    table = csv(root.parent, "file,finding\none.png,x|y\ntwo.jpg,\n")
    manifest = read_labelled(root, table, multi_label=True)
    assert manifest.head == "sigmoid"
    assert manifest.targets().tolist() == [[1, 1], [0, 0]]
    assert manifest.source["patients"] == "unknown"
    assert read_labelled(root, table, multi_label=True, classes=["y", "x"]).labels == ("y", "x")
    with pytest.raises(UnknownName, match="line 2: unknown label 'x'"):
        read_labelled(root, table, multi_label=True, classes=["y"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\nx.png,a\ny.png,b\n", r"no image has a row in labels\.csv \(4 images without a row"),
        ("path,label\none.png,a\ngone.png,b\n", "no image shows the class b"),
    ],
)
def test_tables_that_do_not_fit(root, text, says):
    with pytest.raises(BadData, match=says):
        read_labelled(root, csv(root, text))


def test_a_row_that_fits_two_images_is_refused(root, saved):
    saved(root / "deep" / "one.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(BadData, match=r"line 2: the row fits two images, .*'deep/one\.png'"):
        read_labelled(root, csv(root, "id,label\none,a\ntwo,b\n"))


def test_a_row_of_another_folder_is_not_taken_for_the_image_of_its_name(root):
    table = csv(root, "path,label\nwest/one.png,a\neast/two.jpg,a\ndeep/three.tif,b\nfour.png,a\n")
    manifest = read_labelled(root, table)
    assert sorted(sample.path for sample in manifest.samples) == ["deep/three.tif", "four.png"]
    assert manifest.source["left_out"] == {"images without a row": 2, "other file types": 1, "rows without an image": 2}


def test_no_folder(tmp_path):
    with pytest.raises(BadData, match="there is no folder"):
        read_labelled(tmp_path / "nothing", tmp_path / "labels.csv")


@pytest.mark.parametrize("target", ["../secret.png", "/etc/hostname", "nowhere.png", "loop.png"])
def test_links_that_lead_out_are_refused_and_inner_ones_are_files(root, saved, target):
    saved(root.parent / "secret.png", np.zeros((8, 8), np.uint8))
    table = csv(root, "id,label\none,a\ntwo,b\nlink,a\n")
    (root / "link.png").symlink_to("four.png")
    assert len(read_labelled(root, table)) == 3
    (root / "loop.png").symlink_to(target)
    with pytest.raises(BadData, match=r"'loop\.png' is a link that leads out"):
        read_labelled(root, table)


def test_linked_folders_are_refused_too(root, tmp_path):
    table = csv(root, "id,label\none,a\ntwo,b\n")
    (root / "elsewhere").symlink_to(tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(BadData, match="'elsewhere' is a link that leads out"):
        read_labelled(root, table)
