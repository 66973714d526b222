"""The NIH release as it is downloaded, damaged and whole; expected labels are worked by hand from conftest's table."""

import hashlib
import shutil

import pytest

from radproof.data.nih import FINDINGS, read_nih
from radproof.errors import BadData, UnknownName

ROW = "{},No Finding,0,1,30,M,PA,1,1,1,1\n"


def shown(manifest):
    return {sample.path: sample.labels for sample in manifest.samples}


def test_default_classes_by_hand(release):
    found = read_nih(release())
    assert shown(found) == {
        "images/00000001_000.png": ("Normal",),
        "images/00000001_001.png": ("Pneumonia",),
        "images/00000002_000.png": ("Pneumonia",),
        "images/00000003_000.png": ("Pneumothorax",),
        "images_002/images/00000006_000.png": ("Normal",),
    }
    assert found.source["left_out"] == {"two chosen findings": 1, "other findings": 1, "missing files": 1}
    assert found.source["kind"] == "nih"
    assert found.source["release_lists"] is True
    assert found.head == "softmax"


def test_what_is_known_of_an_image(release):
    root = release()
    first, second, third, fourth, _ = read_nih(root).samples
    assert (first.patient, first.view, first.age, first.sex, first.fold) == ("nih-1", "PA", 58, "M", "train")
    assert second.patient == first.patient
    assert (third.age, fourth.age, fourth.fold) == (81, 0, "test")
    content = (root / first.path).read_bytes()
    assert (first.sha256, first.size) == (hashlib.sha256(content).hexdigest(), len(content))


def test_other_classes_and_views(release):
    root = release()
    found = read_nih(root, classes=("No Finding", "Effusion"))
    assert found.counts() == {"No Finding": 2, "Effusion": 2}
    assert found.source["left_out"] == {"missing files": 1, "other findings": 3}
    frontal = read_nih(root, classes=("Normal", "Pneumonia"), views=("PA",))
    assert frontal.counts() == {"Normal": 2, "Pneumonia": 2}
    assert frontal.source["left_out"]["other views"] == 2


def test_several_findings_side_by_side(release):
    some = read_nih(release(), classes=("Effusion", "Pneumonia"), multi_label=True)
    assert some.head == "sigmoid"
    assert some.targets().tolist() == [[0, 0], [0, 1], [1, 1], [0, 0], [0, 1], [1, 0], [0, 0]]
    with pytest.raises(BadData, match="no image shows the class Atelectasis"):
        read_nih(some.root, multi_label=True)  # all 14
    with pytest.raises(UnknownName, match="Normal is no finding"):
        read_nih(some.root, classes=("Normal", "Pneumonia"), multi_label=True)


def test_the_first_release_reads_the_same(release):
    header = (
        "\ufeffImage Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    now = read_nih(release())
    shutil.rmtree(now.root)
    assert read_nih(release(header=header, name="Data_Entry_2017.csv")).samples == now.samples


def test_without_lists_no_image_is_in_a_fold(release):
    root = release()
    for name in ("train_val_list.txt", "test_list.txt"):
        (root / name).unlink()
    found = read_nih(root)
    assert {sample.fold for sample in found.samples} == {""}
    assert found.source["release_lists"] is False


def test_an_id_does_not_depend_on_where_archives_were_unpacked(release):
    root = release()
    before = [sample.id for sample in read_nih(root).samples]
    shutil.move(root / "images", root / "images_001")
    assert [sample.id for sample in read_nih(root).samples] == before


@pytest.mark.parametrize(
    ("classes", "error", "says"),
    [
        (("Normal", "Pneumonai"), UnknownName, "did you mean 'Pneumonia'"),
        (("Normal", "Hernia"), BadData, "no image shows the class Hernia; leave it out"),
        (("Normal", "No Finding"), BadData, "name a class twice"),
        (("Pneumonia",), BadData, "at least two classes"),
    ],
)
def test_impossible_classes(release, classes, error, says):
    with pytest.raises(error, match=says) as caught:
        read_nih(release(), classes=classes)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (ROW.format("../../etc/passwd"), "line 2: '../../etc/passwd' is not the bare name"),
        (ROW.format("/etc/passwd"), "line 2.*bare name"),
        (ROW.format("a\0b.png"), "line 2.*bare name|NUL"),
        (ROW.format("=cmd|calc"), "line 2.*bare name"),
        (ROW.format(".hidden"), "line 2.*bare name"),
        (ROW.format("a.png") * 2, "line 3: image a.png was already given in line 2"),
        ("a.png,Pneumonai,0,1\n", "line 2: unknown finding 'Pneumonai'; did you mean 'Pneumonia'"),
        ("a.png,,0,1\n", "line 2: unknown finding ''"),
        ("a.png,Mass,0,Jane\n", "line 2: patient 'Jane' is not a number"),
        (ROW.format("a.png"), "none of the 1 images .* is on disk"),
        ("", "no rows"),
    ],
)
def test_damaged_tables(release, rows, says):
    with pytest.raises(BadData, match=says):
        read_nih(release(rows))


def test_damaged_releases(release, tmp_path):
    with pytest.raises(BadData, match="no folder"):
        read_nih(tmp_path / "nothing")
    with pytest.raises(BadData, match="lacks the column Patient ID"):
        read_nih(release(header="Image Index,Finding Labels"))
    root = release()
    (root / "test_list.txt").write_text("00000001_000.png\n")
    with pytest.raises(BadData, match="in both train_val_list"):
        read_nih(root)
    with pytest.raises(UnknownName, match="no view named 'lateral'; known: AP, PA"):
        read_nih(root, views=("lateral",))
    (root / "Data_Entry_2017_v2020.csv").unlink()
    with pytest.raises(BadData, match=r"no Data_Entry_2017\*\.csv"):
        read_nih(root)


def test_the_shared_radiographs_have_the_published_counts(shared):
    root = shared / "data" / "nih-chestxray14-320"
    found = read_nih(root)
    by_fold = {fold: found.fold(fold).counts() for fold in ("train", "test")}
    assert by_fold == {
        "train": {"Normal": 445, "Pneumonia": 346, "Pneumothorax": 26},
        "test": {"Normal": 135, "Pneumonia": 138, "Pneumothorax": 8},
    }
    assert sum(found.source["left_out"].values()) == 337 + 120
    everything = read_nih(root, multi_label=True)
    assert (len(everything), len(everything.patients())) == (1555, 1231)
    assert everything.labels == FINDINGS
