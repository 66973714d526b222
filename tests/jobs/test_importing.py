# SPDX-License-Identifier: Apache-2.0
"""Uploads become models and data sets: what is kept, what is gone, and that no patient's name is left anywhere."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sqlalchemy import select
from tests.data.dicom.conftest import data_set, write
from tests.store.fresh import migrated

from radproof import app
from radproof.assess import describing, receiving
from radproof.core.guard import Guarded
from radproof.data import foreign, volumes
from radproof.data.manifest import Manifest
from radproof.errors import BadData, BadInput, RadproofError
from radproof.jobs.importing import KINDS
from radproof.jobs.kinds import Outcome
from radproof.jobs.queue import Jobs
from radproof.models.card import ModelCard, save_model
from radproof.models.zoo import from_blueprint
from radproof.store.database import Database
from radproof.store.files import Files
from radproof.store.ids import new_id
from radproof.store.settings import Settings, read_settings
from radproof.store.tables import DataSet, File, GuardFile, Job, Model, Project, User

NAME = "Mustermann"


@dataclass
class Desk:
    """A server's home, and uploads that came."""

    settings: Settings
    database: Database
    files: Files
    project: str
    user: str

    def upload(self, kind: type[Any], data: bytes, **told: Any) -> Job:
        """A row of this kind, its file, its job."""
        prefix: Any = "mdl" if kind is Model else "dat"
        with self.database.writing() as session:
            sha256 = self.files.put(io.BytesIO(data), most=10**9)
            file = File(id=new_id("fil"), project_id=self.project, sha256=sha256, size=len(data))
            session.add(file)
            session.flush()
            one = kind(id=new_id(prefix), project_id=self.project, name="n", file_id=file.id, told=told)
            session.add(one)
            session.flush()
            return self.job("model" if kind is Model else "data", one.id, session)

    def job(self, kind: str, subject: str, session: Any) -> Job:
        jobs = Jobs(self.settings, self.database)
        return jobs.submit(session, kind, subject_id=subject, project_id=self.project, created_by=self.user)

    def arguments(self, job: Job) -> list[str]:
        with self.database.writing() as session:
            return KINDS[job.kind].prepare(session, session.get_one(Job, job.id), self.settings, self.files)

    def done(self, job: Job, outcome: Outcome, state: str = "") -> Any:
        """The subject after the job ended so."""
        with self.database.writing() as session:
            row = session.get_one(Job, job.id)
            row.state = state or ("done" if outcome.code == 0 else "failed")
            KINDS[job.kind].finish(session, row, self.settings, outcome)
        kind = {"data": DataSet, "guard": GuardFile}.get(job.kind, Model)
        with self.database.reading() as session:
            return session.get(kind, job.subject_id)

    def names(self) -> list[str]:
        """All files in home but the database."""
        home = self.settings.home
        return sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file() and ".db" not in p.name)

    def holds(self, word: str) -> list[str]:
        """Files of home that hold a word, by their names or bytes."""
        found = list(self.settings.home.rglob("*"))
        return [str(p) for p in found if word in p.name or (p.is_file() and word.encode() in p.read_bytes())]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with migrated(tmp_path / "home") as database:
        settings = read_settings(home=tmp_path / "home", worker=False, database=database.url)
        with database.writing() as session:
            project = Project(id=new_id("prj"), name="ours")
            user = User(id=new_id("usr"), name="somebody")
            session.add_all([project, user])
        yield Desk(settings, database, Files(settings), project.id, user.id)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guarded work is done in this process: starting one takes seconds; a test of each kind has the real one."""

    monkeypatch.setattr(receiving, "call", here_instead)
    monkeypatch.setattr(describing, "call", here_instead)


def here_instead(task: str, arguments: dict[str, Any], **_: Any) -> Guarded:
    """As sheltered.call, in this process."""
    module, _, name = task.partition(":")
    return Guarded(json.loads(json.dumps(getattr(import_module(module), name)(**arguments))), ())


def png(number: int, side: int = 24) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (side, side), np.uint8)).save(held, "PNG")
    return held.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return held.getvalue()


def folders(count: int = 6, classes: tuple[str, ...] = ("Normal", "Pneumonia")) -> dict[str, bytes]:
    return {f"set/{c}/{NAME}_{n}.png": png(100 * k + n) for k, c in enumerate(classes) for n in range(count)}


def take(archive: bytes, tmp_path: Path, **how: Any) -> Any:
    (tmp_path / "blob").write_bytes(archive)
    return app.take_data(tmp_path / "blob", tmp_path / "out", **how)


@pytest.mark.usefixtures("here")
def test_folders_of_classes_become_pngs_whose_names_tell_nobody(tmp_path: Path) -> None:
    found = take(packed({**folders(), "set/readme.txt": b"x", "__MACOSX/x": b"x"}), tmp_path)
    assert (found.source, found.labels, found.images, found.head) == ("folder", ("Normal", "Pneumonia"), 12, "softmax")
    assert sum(fold.images for fold in found.folds.values()) == 12 and set(found.folds) == {
        "train",
        "validation",
        "test",
    }
    assert found.grids[0].model_dump() == {"height": 24, "width": 24, "channels": 1, "levels": 256, "images": 12}
    assert found.left_out["hidden files"] == 1 and not found.patients_known and found.bytes > 0
    manifest = Manifest.read(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["about.json", "images", "manifest.parquet"]
    assert found.fingerprint == manifest.fingerprint() and manifest.root == tmp_path / "out"
    assert all(NAME not in str(sample) for sample in manifest.samples)


@pytest.mark.usefixtures("here")
def test_files_that_cannot_be_read_are_left_out_by_their_number(tmp_path: Path) -> None:
    found = take(packed({**folders(), f"set/Normal/{NAME}_x.png": b"\x89PNG broken"}), tmp_path)
    assert found.images == 12 and found.excluded_count == 1
    (one,) = found.excluded
    assert one.index == 13 and len(one.sha256) == 16 and one.reason and NAME not in one.reason
    told = found.audit.unreadable
    assert (told.files, told.of, told.most) == (1, 13, 1) and list(told.reasons.values()) == [1]
    assert found.audit.lines[0].startswith("1 file cannot be read (7.7 % of 13; 1 may be left out): 1 × ")
    assert NAME not in str(found.audit)


def spoilt(count: int) -> bytes:
    """Forty good images, some that end too early and a text."""
    broken = {f"set/Normal/{NAME}_{n}x.png": png(n)[: 200 + n] for n in range(count - 1)}
    return packed({**folders(20), **broken, f"set/Normal/{NAME}_y.png": f"Patient {NAME}".encode()})


@pytest.mark.usefixtures("here")
def test_more_unreadable_files_than_one_in_twenty_fail_the_import_with_the_list(tmp_path: Path) -> None:
    found = take(spoilt(2), tmp_path)
    assert found.images == 40 and found.audit.unreadable.files == found.audit.unreadable.most == 2
    (tmp_path / "out").rename(tmp_path / "first")
    with pytest.raises(
        BadData, match=r"3 of 43 files cannot be read, and 2 may be left out: 2 × .*truncated.*; 1 × "
    ) as e:
        take(spoilt(3), tmp_path)
    assert NAME not in str(e.value) and not (tmp_path / "out").exists()
    with pytest.raises(BadData, match="2 of 42 files cannot be read, and none may be left out"):
        take(spoilt(2), tmp_path, strict=True)


@pytest.mark.usefixtures("here")
def test_a_class_whose_images_all_cannot_be_read_fails_the_import(tmp_path: Path) -> None:
    broken = {f"set/Oedema/{n}.png": bytes(n + 1) for n in range(3)}
    with pytest.raises(BadData, match="no image shows the class …"):
        take(packed({**folders(30), **broken}), tmp_path)


@pytest.mark.usefixtures("here")
def test_damaged_dicom_files_are_left_out_whether_header_or_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "inside", lambda: True)
    files = dict(zip_files(dicoms(tmp_path, 40)))
    names = list(files)
    files[names[3]] = files[names[3]][:300]  # within the header
    files[names[5]] = files[names[5]][:-100]
    found = take(packed(files), tmp_path)
    assert (found.source, found.images, found.patients) == ("dicom", 38, 38)
    assert [one.index for one in found.excluded] == [4, 6] and found.audit.unreadable.of == 40
    assert NAME not in found.model_dump_json() and len(Manifest.read(tmp_path / "out")) == 38
    (tmp_path / "out").rename(tmp_path / "first")
    with pytest.raises(BadData, match="2 of 40 files cannot be read, and none"):
        take(packed(files), tmp_path, strict=True)


@pytest.mark.usefixtures("here")
def test_a_damaged_volume_is_left_out_once_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nibabel = pytest.importorskip("nibabel")
    monkeypatch.setattr(foreign, "inside", lambda: True)
    files: dict[str, bytes] = {}
    for number in range(9):
        voxels = np.random.default_rng(number).integers(0, 999, (12, 12, 3)).astype(np.int16)
        files[f"{NAME}{number}.nii"] = nibabel.Nifti1Image(voxels, np.eye(4)).to_bytes()
    files[f"{NAME}4.nii"] = files[f"{NAME}4.nii"][:-50]
    table = "path,label\n" + "\n".join(f"{name},{'ab'[n % 2]}" for n, name in enumerate(files))
    opened = Counter[str]()
    real = volumes._voxels

    def counted(path: Path, grid: Any) -> Any:
        opened[path.name] += 1
        return real(path, grid)

    monkeypatch.setattr(volumes, "_voxels", counted)
    found = take(packed({**files, "labels.csv": table.encode()}), tmp_path)
    assert (found.source, found.images, found.excluded_count) == ("nifti", 24, 1)
    assert found.excluded[0].index == 5 and found.audit.unreadable.of == 9 and opened[f"{NAME}4.nii"] == 1


def zip_files(archive: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [(info.filename, opened.read(info)) for info in opened.infolist()]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("table", ["path,label\n{}", "path,label,patient\n{}"], ids=["labels", "labels and patients"])
def test_a_table_within_or_beside_the_archive_says_what_images_show(tmp_path: Path, table: str) -> None:
    images = {f"{NAME}{n}.png": png(n) for n in range(12)}
    lines = [f"{name},{'ab'[n % 2]}{f',{NAME}{n // 2}' if 'patient' in table else ''}" for n, name in enumerate(images)]
    if "patient" in table:
        lines = [f"{name},{'ab'[n // 6]},{NAME}{n}" for n, name in enumerate(images)]
    text = table.format("\n".join(lines)).encode()
    (tmp_path / "table").write_bytes(text)
    inside = take(packed({**images, "labels.csv": text}), tmp_path)
    (tmp_path / "out").rename(tmp_path / "first")
    beside = take(packed(images), tmp_path, labels=tmp_path / "table")
    assert inside.source == beside.source == "labelled" and inside.labels == beside.labels == ("a", "b")
    assert inside.patients_known == ("patient" in table)
    assert (
        NAME.encode()
        not in (tmp_path / "first/manifest.parquet").read_bytes() + (tmp_path / "out/manifest.parquet").read_bytes()
    )


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "files",
    [
        {f"{NAME}/1.png": b"x"},
        {f"A/{NAME}.png": b"broken", f"B/{NAME}2.png": b"broken"},
        {"1.png": b"x", "labels.csv": f"{NAME},{NAME} Erika\n1.png,{NAME}".encode()},
        {"1.png": b"x", "labels.csv": f"path,label\n../{NAME}.png,a\n1.png,b".encode()},
        {f"={NAME}/1.png": png(1), "b/1.png": png(2)},
        {f"{NAME}.zip": packed({"a": b"1"})},
        {"manifest.parquet": NAME.encode()},
    ],
    ids=range(7),
)
def test_errors_name_no_file_no_folder_and_no_cell(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(RadproofError) as error:
        take(packed(files), tmp_path)
    assert NAME not in str(error.value) and str(tmp_path) not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob"]


@pytest.mark.usefixtures("here")
def test_a_manifest_of_somebody_else_reaches_nothing_outside(tmp_path: Path) -> None:
    """Its root, paths, ids and words are a stranger's."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/1.png").write_bytes(png(1))
    (tmp_path / "blob").write_bytes(packed(folders()))
    app.take_data(tmp_path / "blob", tmp_path / "made")
    own = Manifest.read(tmp_path / "made")
    for root, path in ((tmp_path / "secret", "1.png"), (tmp_path / "made", "../secret/1.png")):
        changed = replace(own, root=root, samples=tuple(replace(s, path=path, id="../../x") for s in own.samples))
        changed.write(tmp_path / "manifest.parquet")
        with pytest.raises(BadInput, match=r"outside the archive|outside its folder"):
            take(
                packed({"manifest.parquet": (tmp_path / "manifest.parquet").read_bytes(), "a/1.png": png(3)}), tmp_path
            )
    named = replace(
        own, samples=tuple(replace(s, patient=NAME, id=f"../{s.id}") for s in own.samples), source={"x": NAME}
    )
    named.write(tmp_path / "made/manifest.parquet")
    files = {p.relative_to(tmp_path / "made").as_posix(): p.read_bytes() for p in (tmp_path / "made").rglob("*.p*")}
    found = take(packed(files), tmp_path)
    manifest = Manifest.read(tmp_path / "out")
    assert found.images == 12 and {s.path for s in manifest.samples} == {f"images/{s.id}.png" for s in manifest.samples}
    assert NAME not in str(manifest.samples) + str(manifest.source)


def dicoms(tmp_path: Path, count: int = 12) -> bytes:
    """A patient's name in headers, in names of files, and burnt into nothing."""
    files: dict[str, bytes] = {}
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 4000, (24, 24)).astype(np.uint16)
        ds = data_set(
            pixels, stored=12, PatientName=f"{NAME}^Erika", PatientID=f"{NAME}-{number}",
            SOPInstanceUID=f"1.2.3.{number}", StudyDescription=f"of {NAME}", ReferringPhysicianName=f"Dr {NAME}",
        )  # fmt: skip
        path = write(tmp_path / "dicom" / f"{NAME}_{number}.dcm", ds)
        files[f"{'Normal' if number % 2 else 'Pneumonia'}/{NAME}_{number}.dcm"] = path.read_bytes()
    return packed(files)


def command(arguments: list[str], home: Path) -> Outcome:
    """As a worker runs it."""
    told = {**os.environ, "OMP_NUM_THREADS": "1", "RADPROOF_SUPERVISED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "radproof", *arguments], cwd=home, env=told, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        out, err = process.stdout.read(), process.stderr.read()
        code = process.wait()
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert NAME not in err
    return Outcome(code, out, next((line["error"] for line in lines if "error" in line), ""))


def test_phi_of_dicom_files_is_nowhere_after_the_import(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in home (the database and the blobs included), not in what the command says, not in the log; guarded."""
    job = desk.upload(DataSet, dicoms(tmp_path))
    assert desk.holds(NAME)
    found = desk.done(job, command(desk.arguments(job), desk.settings.home))
    assert found.state == "ready", found.error
    assert found.path == f"data/{found.id}" and found.file_id is None
    facts = found.facts
    assert (facts["source"], facts["kind"], facts["images"], facts["patients"]) == ("dicom", "manifest", 12, 12)
    assert facts["guard"] and "removed" in facts["removed"]
    assert desk.holds(NAME) == [] and NAME not in caplog.text
    assert all(name.startswith("data/") for name in desk.names())


@pytest.mark.slow
def test_a_pickle_in_a_torch_file_is_refused_in_the_guard_and_does_nothing(desk: Desk, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'done'}",)

    torch.save({"w": torch.zeros(2)}, tmp_path / "net.pt")
    held = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "net.pt") as old, zipfile.ZipFile(held, "w") as new:
        for one in old.infolist():
            new.writestr(one, pickle.dumps(Evil(), 2) if one.filename.endswith("data.pkl") else old.read(one))
    job = desk.upload(Model, held.getvalue(), architecture="resnet18")
    outcome = command(desk.arguments(job), desk.settings.home)
    found = desk.done(job, outcome)
    assert outcome.code == 2 and found.state == "failed" and "run code" in found.error
    assert not (tmp_path / "done").exists() and str(tmp_path) not in found.error


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A zip of radproof's own folder, whose words are hostile."""
    folder = tmp_path_factory.mktemp("own") / "net"
    card = ModelCard(
        architecture="cxrnet", labels=("Normal", "<script>alert(1)</script>"), input_size=32, channels=1, mean=(0.5,),
        std=(0.5,), hidden=0, name="<img src=x onerror=alert(1)>",
    )  # fmt: skip
    save_model(folder, from_blueprint(card.blueprint), card)
    return packed({f"net/{p.name}": p.read_bytes() for p in folder.iterdir()} | {"net/notes.txt": b"x"})


@pytest.mark.usefixtures("here")
def test_own_folders_and_files_are_described(tmp_path: Path, own: bytes) -> None:
    (tmp_path / "blob").write_bytes(own)
    found = app.take_model(tmp_path / "blob", tmp_path / "out")
    assert (found.format, found.access, found.classes, found.input) == ("radproof", "white-box", 2, (1, 32, 32))
    assert found.parameters > 10**5 and found.seconds.forward > 0 and (found.seconds.gradient or 0) > 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["about.json", "card.yaml", "weights.safetensors"]
    again = app.take_model(tmp_path / "blob", tmp_path / "out")
    assert again.fingerprint == found.fingerprint


@pytest.mark.usefixtures("here")
def test_archives_that_are_no_model_are_refused(tmp_path: Path, own: bytes) -> None:
    (tmp_path / "blob").write_bytes(packed({"a/model.onnx": b"x"}))
    with pytest.raises(BadInput, match=r"card.yaml and weights.safetensors"):
        app.take_model(tmp_path / "blob", tmp_path / "out")
    (tmp_path / "blob").write_bytes(packed({"../card.yaml": b"x", "weights.safetensors": b"x"}))
    with pytest.raises(BadInput, match="lead out of the archive"):
        app.take_model(tmp_path / "blob", tmp_path / "out")
    (tmp_path / "blob").write_bytes(b"<svg/>")
    with pytest.raises(BadInput, match="web page"):
        app.take_model(tmp_path / "blob", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


def test_what_a_model_s_command_said_becomes_its_row(desk: Desk) -> None:
    job = desk.upload(Model, b"bytes", architecture="resnet18")
    told = desk.arguments(job)
    assert told[:2] == ["model", "import"] and "--architecture=resnet18" in told
    assert told[told.index("--out") + 1] == str(desk.settings.folder("models", job.subject_id))
    facts = {"file": "model.onnx", "needs": "data", "fingerprint": "f" * 64}
    found = desk.done(job, Outcome(0, json.dumps(facts)))
    assert (found.state, found.path, found.fingerprint) == ("unchecked", f"models/{found.id}/model.onnx", "f" * 64)
    with desk.database.writing() as session:
        data = DataSet(id=new_id("dat"), project_id=desk.project, name="d", state="ready", path="data/x")
        session.add(data)
        model = session.get_one(Model, found.id)
        model.told = {**model.told, "check": data.id}
        check = desk.job("check", found.id, session)
    told = desk.arguments(check)
    assert told[:2] == ["model", "describe"] and "--write" in told
    found = desk.done(check, Outcome(2, "", f"{desk.settings.home.resolve()}/models/x: broken"))
    assert found.state == "unchecked" and found.error == "models/x: broken"
    found = desk.done(check, Outcome(0, json.dumps({**facts, "needs": "", "card": {}, "check": {"problems": []}})))
    assert (found.state, found.error) == ("ready", "") and found.facts["check"] == {"problems": []}


@pytest.mark.parametrize("kind", [Model, DataSet])
@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_imports_that_fail_or_are_cancelled_leave_their_upload_alone(desk: Desk, kind: type[Any], state: str) -> None:
    job = desk.upload(kind, b"bytes")
    told = desk.arguments(job)
    folder = desk.settings.folder("models" if kind is Model else "data", job.subject_id)
    folder.mkdir(parents=True)
    (folder / "half").write_bytes(b"x")
    found = desk.done(job, Outcome(130 if state == "cancelled" else 2, "", "why"), state)
    assert found.state == "failed" and found.error == ("why" if state == "failed" else "the import was cancelled")
    if kind is DataSet and state == "cancelled":  # it may hold patients' names
        assert desk.names() == []
        return
    (kept,) = desk.names()
    assert kept.startswith("blobs/") and desk.arguments(job) == told
    with desk.database.reading() as session:
        assert desk.files.used(session, desk.project) == 5


def test_an_upload_of_images_goes_once_a_second_try_went_well(desk: Desk) -> None:
    job = desk.upload(DataSet, b"bytes", strict=True)
    desk.done(job, Outcome(2, "", "why"))
    assert "--strict" in desk.arguments(job)
    folder = desk.settings.folder("data", job.subject_id)
    folder.mkdir(parents=True)
    (folder / "manifest.parquet").write_bytes(b"x" * 7)
    found = desk.done(job, Outcome(0, json.dumps({"bytes": -(10**18)})))  # its size is not what the import says
    assert (found.state, found.error, desk.names()) == ("ready", "", [f"data/{found.id}/manifest.parquet"])
    with desk.database.reading() as session:
        assert session.execute(select(File)).scalars().all() == [] and desk.files.used(session, desk.project) == 7
    with pytest.raises(BadInput, match="upload it again"):
        desk.arguments(job)


def test_a_model_says_how_much_of_the_disk_it_takes(desk: Desk) -> None:
    job = desk.upload(Model, b"bytes")
    folder = desk.settings.folder("models", job.subject_id)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x" * 100)
    assert desk.done(job, Outcome(0, "{}")).facts["bytes"] == 100
    with desk.database.reading() as session:
        assert desk.files.used(session, desk.project) == 105


def test_what_was_removed_meanwhile_is_cleared_away(desk: Desk) -> None:
    job = desk.upload(DataSet, b"bytes")
    desk.settings.folder("data", job.subject_id).mkdir(parents=True)
    with desk.database.writing() as session:
        session.delete(session.get_one(DataSet, job.subject_id))
    assert desk.done(job, Outcome(0, "{}")) is None
    assert not desk.settings.folder("data", job.subject_id).exists()


def test_hostile_words_of_an_uploader_stay_one_argument(desk: Desk) -> None:
    job = desk.upload(DataSet, b"bytes", classes="--out=/etc,b", label_tag="--seed", multi_label=True)
    told = desk.arguments(job)
    assert "--classes=--out=/etc,b" in told and "--label-tag=--seed" in told and told.count("--out") == 1
    job = desk.upload(Model, b"other", architecture="--out /etc")
    with pytest.raises(BadInput, match="architecture"):
        desk.arguments(job)


def test_a_guard_is_taught_by_its_command(desk: Desk) -> None:
    with desk.database.writing() as session:
        model = Model(id=new_id("mdl"), project_id=desk.project, name="m", state="ready", path="models/x")
        data = DataSet(id=new_id("dat"), project_id=desk.project, name="d", state="ready", path="data/x")
        session.add_all([model, data])
        session.flush()
        told = {"detector": "drift", "rate": 0.1, "other_data": True}
        guard = GuardFile(id=new_id("grd"), project_id=desk.project, model_id=model.id, data_id=data.id, told=told)
        session.add(guard)
        session.flush()
        job = desk.job("guard", guard.id, session)
    out = desk.settings.folder("guards") / f"{guard.id}.safetensors"
    given = desk.arguments(job)
    assert given[0] == "guard" and str(out) in given and "--other-data" in given and "--rate=0.1" in given
    assert desk.done(job, Outcome(0, '{"about": 1}')).state == "ready"
    out.write_bytes(b"half")
    assert desk.done(job, Outcome(2, "", "too few images")).error == "too few images" and not out.exists()
