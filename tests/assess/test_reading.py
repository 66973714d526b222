"""A guarded process reads what was named and what belongs to it; a file's neighbours stay unseen."""

import tarfile
from pathlib import Path

import pytest

from radproof.assess import reading
from radproof.assess.exporting import export_dicom
from radproof.assess.plan import make_plan
from radproof.assess.sections import DataPlan
from radproof.core.guard import guarded
from radproof.data.manifest import Manifest, Sample
from radproof.errors import BadData

HERE = Path(__file__).parent


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a model, images and a key in it."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / ".ssh" / "id").write_text("key")
    (tmp_path / "home" / "notes.txt").write_text("private")
    (tmp_path / "home" / "m.onnx").write_text("model")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def seen(paths, *asked):
    """Which of some files a guarded process reads."""
    given = {"paths": [str(path) for path in asked]}
    return guarded("hostile_work:readable", given, paths=[HERE], read=paths).value


def test_a_models_file_and_its_cards_are_read_and_nothing_beside_them(home):
    model, key = home / "m.onnx", home / ".ssh" / "id"
    asked = [model, home / "m.card.yaml", home / "card.yaml", key, home / "notes.txt"]
    for card in asked[1:3]:
        card.write_text("card")
    assert seen(reading.of_model(model), *asked) == [True, True, True, False, False]
    assert seen(reading.of_model(home), key) == [True]  # a folder that was given


def test_a_linked_model_is_read_where_it_leads_with_the_cards_at_either_end(home, tmp_path):
    link = tmp_path / "models" / "linked.onnx"
    link.parent.mkdir()
    link.symlink_to(home / "m.onnx")
    for card in (link.with_name("linked.card.yaml"), home / "m.card.yaml"):
        card.write_text("card")
    asked = [link, home / "m.onnx", link.with_name("linked.card.yaml"), home / "m.card.yaml", home / "notes.txt"]
    assert seen(reading.of_model(link), *asked) == [True, True, True, True, False]


def test_data_in_one_file_in_shards_and_in_folders(home):
    key = home / "notes.txt"
    for number in range(3):
        with tarfile.open(home / f"s{number}.tar", "w") as shard:
            shard.add(key, "a.txt")
    shards = DataPlan(kind="webdataset", path=str(home / "s{0..1}.tar"))
    assert seen(reading.of_data(shards), *(home / f"s{n}.tar" for n in range(3)), key) == [True, True, False, False]
    (home / "d.npz").write_text("x")
    assert seen(reading.of_data(DataPlan(kind="medmnist", path=str(home / "d.npz"))), home / "d.npz", key) == [
        True,
        False,
    ]
    (home / "set").mkdir()
    for name in ("labels.csv", "set/a.png"):
        (home / name).write_text("x")
    folder = DataPlan(kind="labelled", path=str(home / "set"), labels=str(home / "labels.csv"))
    assert seen(reading.of_data(folder), home / "set" / "a.png", home / "labels.csv", key) == [True, True, False]


def manifest(folder, root):
    return Manifest(root, ("A",), (Sample("1", "a.png", "p", ("A",)),)).write(folder / "manifest.parquet")


def test_a_plan_reads_its_parts(home, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_text("x")
    file = manifest(home, images)
    plan = make_plan(
        {
            "name": "p",
            "data": {"kind": "manifest", "path": str(file)},
            "model": {"path": str(home / "m.onnx")},
            "attacks": ["pgd"],
            "budgets": ["1/255"],
        },
        base=home,
    )
    asked = [file, images / "a.png", home / "m.onnx", home / "notes.txt", home / ".ssh" / "id"]
    assert seen(reading.of_plan(plan), *asked) == [True, True, True, False, False]


@pytest.mark.parametrize("root", ["/", "home", "above"])
def test_a_manifest_that_would_show_the_whole_home_is_refused(home, tmp_path, root):
    (tmp_path / "set").mkdir()
    file = manifest(tmp_path / "set", {"/": Path("/"), "home": home, "above": tmp_path}[root])
    for path in (file, file.parent):
        with pytest.raises(BadData, match="holds the whole home folder or disk"):
            reading.of_data(DataPlan(kind="manifest", path=str(path)))
    with pytest.raises(BadData, match="holds the whole home folder or disk"):
        export_dicom(file, tmp_path / "set", tmp_path / "out")


def test_a_manifest_in_a_folder_of_the_home_is_read(home):
    (home / "set").mkdir()
    file = manifest(home / "set", home / "set")
    assert home / "set" in reading.of_data(DataPlan(kind="manifest", path=str(file)))


def test_a_runs_images_lie_in_its_own_folder(tmp_path):
    (tmp_path / "run" / "images").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    file = manifest(tmp_path / "run" / "images", tmp_path / "other")
    for given in (tmp_path / "run", file.parent, file):
        with pytest.raises(BadData, match="says that they lie elsewhere"):
            export_dicom(given, tmp_path / "other", tmp_path / "out")
    assert len(reading.own_images(manifest(file.parent, file.parent))) == 1
