"""One folder per class, with and without folds and a table of patients."""

import pytest

from radproof.data.folder import read_folder
from radproof.errors import BadData, UnknownName


@pytest.fixture
def classes(tmp_path, film, saved):
    root = tmp_path / "set"
    saved(root / "Normal" / "a.png", film(0, 16))
    saved(root / "Normal" / "deep" / "b.PNG", film(1, 16))
    saved(root / "Pneumonia" / "c.jpg", film(2, 16))
    saved(root / "Pneumonia" / "aug_c.png", film(3, 16))
    (root / "Normal" / "notes.txt").write_text("x")
    (root / "Normal" / ".DS_Store").write_text("x")
    (root / "__MACOSX").mkdir()
    return root


def test_class_per_folder(classes):
    found = read_folder(classes)
    assert {s.path: s.labels for s in found.samples} == {
        "Normal/a.png": ("Normal",),
        "Normal/deep/b.PNG": ("Normal",),
        "Pneumonia/c.jpg": ("Pneumonia",),
        "Pneumonia/aug_c.png": ("Pneumonia",),
    }
    assert found.source["left_out"] == {"other file types": 1}
    assert found.source["patients"] == "unknown"
    assert {s.patient for s in found.samples} == {""}
    assert all(s.sha256 and s.size for s in found.samples)
    assert [bool(s.chain) for s in found.samples] == [False, False, True, False]  # aug_c.png comes before c.jpg


def test_chosen_classes_in_the_chosen_order(classes, film, saved):
    saved(classes / "Edema" / "d.png", film(4, 16))
    assert read_folder(classes, classes=("Pneumonia", "Edema")).counts() == {"Pneumonia": 2, "Edema": 1}
    with pytest.raises(UnknownName, match="did you mean 'Pneumonia'"):
        read_folder(classes, classes=("Normal", "Pneumonai"))


def test_folds_are_taken_from_folders(tmp_path, film, saved):
    for i, fold in enumerate(("train", "val", "test")):
        for label in ("A", "B"):
            saved(tmp_path / fold / label / f"{i}.png", film(i, 16))
    found = read_folder(tmp_path)
    assert {(s.path, s.fold) for s in found.samples if s.labels == ("A",)} == {
        ("train/A/0.png", "train"),
        ("val/A/1.png", "validation"),
        ("test/A/2.png", "test"),
    }
    (tmp_path / "test" / "B" / "2.png").unlink()
    with pytest.raises(BadData, match="test folder: no image shows the class B"):
        read_folder(tmp_path)
    (tmp_path / "extra").mkdir()
    with pytest.raises(BadData, match=r"stand beside others \(extra\)"):
        read_folder(tmp_path)


def test_a_table_brings_patients_without_their_names(classes):
    table = classes / "patients.csv"
    table.write_text(
        "path,patient,view,age,sex\nNormal/a.png,Doe^Jane,PA,44,F\nNormal\\deep\\b.PNG,Doe^Jane,AP,45,F\n"
        "Pneumonia/c.jpg,7,,,\nPneumonia/aug_c.png,7,,,\ngone.png,8,,,\n"
    )
    found = read_folder(classes, patients=table)
    first, second, *others = found.samples
    assert (first.view, first.age, first.sex) == ("PA", 44, "F")
    assert first.patient == second.patient != others[0].patient == others[1].patient
    assert "Doe" not in repr(found.samples)
    assert found.source["patients"] == "table"
    assert found.source["left_out"]["table rows without an image"] == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("../x.png,1\n", "line 2.*not a path inside"),
        ("/etc/passwd,1\n", "line 2.*not a path inside"),
        ("Normal/a.png,1\nNormal/a.png,2\n", "line 3: the image was already given in line 2"),
        ("Normal/a.png,\n", "line 2: no patient"),
        ("Normal/a.png,1\n", "3 images have no row"),
    ],
)
def test_damaged_tables(classes, rows, says):
    (classes / "p.csv").write_text("path,patient\n" + rows)
    with pytest.raises(BadData, match=says) as caught:
        read_folder(classes, patients=classes / "p.csv")
    assert caught.value.exit_code == 2


def test_folders_without_classes(tmp_path, classes):
    with pytest.raises(BadData, match="no folder"):
        read_folder(tmp_path / "nothing")
    (classes / "Edema").mkdir()
    (classes / "Edema" / "x.dcm").write_bytes(b"x")
    with pytest.raises(BadData, match=r"no image shows the class Edema.*1 \.dcm"):
        read_folder(classes)
    with pytest.raises(BadData, match="at least two classes; found deep"):
        read_folder(classes / "Normal")
