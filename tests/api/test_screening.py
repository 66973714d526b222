# SPDX-License-Identifier: Apache-2.0
"""Screening by API and page: answers, refusals, queues, processes that misbehave, hostile images, and no trace."""

import io
import json
import logging
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sqlalchemy import select
from tests.api.conftest import House, Person
from tests.api.seeded import until
from tests.core import lodgers

from radproof.api.kept import Patience
from radproof.api.screened import Nonsense, Opened, Said, parsed
from radproof.api.screener import Screeners
from radproof.api.spool import Spool
from radproof.store.ids import new_id
from radproof.store.tables import Event, GuardFile, Model

CORE = Path(lodgers.__file__).parent
URL = "/api/v1/screening"


def png(pixels=None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), 90, np.uint8) if pixels is None else pixels).save(stream, "PNG")
    return stream.getvalue()


def screeners(house: House, **how) -> Screeners:
    house.service.screeners.close()
    made = Screeners(house.service.settings, **{"task": "lodgers:screens", "paths": [CORE], **how})
    object.__setattr__(house.service, "screeners", made)
    return made


@pytest.fixture
def lodging(house: House):
    """lodging(["answer"]) is the name of a model whose process does so with each image; a clinician asks."""
    who = house.person("clinician")
    screeners(house)

    def add(plan, project: str = "", state: str = "ready", guarded: bool = True) -> str:
        name, guard = new_id("mdl"), new_id("grd")
        folder, guards = house.service.settings.folder("models", name), house.service.settings.folder("guards")
        folder.mkdir(parents=True)
        guards.mkdir(exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(plan))
        (guards / f"{guard}.safetensors").touch()
        own = {"project_id": project or who.project}
        with house.service.database.writing() as session:
            session.add(Model(id=name, name="Chest", path=f"models/{name}/plan.json", state=state, **own))
            session.flush()
            if guarded:
                session.add(GuardFile(id=guard, model_id=name, state="ready", **own))
        return name

    return who, add


def ask(who: Person, model: str, content: bytes | None = None, **fields):
    files = {"image": ("Doe^Jane.png", png() if content is None else content)}
    return who.client.post(URL, data={"model": model, **fields}, files=files)


def left(house: House) -> list[Path]:
    """Images that lie somewhere in the server's home."""
    home = house.service.settings.home
    spooled = [path for path in home.glob("screening/*/*") if path.name not in ("held", "requests", "answers")]
    return spooled + list(home.glob("uploads/*"))


def test_an_answer_says_verdict_figures_and_what_to_do(house, lodging):
    who, add = lodging
    model = add(["answer"])
    found = ask(who, model)
    assert found.status_code == 200, found.text
    told = found.json()
    assert told["verdict"] == "suspicious" and told["prediction"] == ["Pneumonia"]
    assert told["headline"] == "Do not rely on the model's answer for this image."
    assert told["suspicion"]["flagged"] is True and told["suspicion"]["threshold"] == 1.5 and told["phantom"] is True
    assert told["notice"].startswith("Not for diagnosis") and told["outside"] is None
    import hashlib

    assert told["image"] == hashlib.sha256(png()).hexdigest()[:16]
    assert left(house) == []


def test_privacy_no_image_and_no_name_of_one_is_kept_or_logged_and_the_trail_knows_its_hash(house, lodging, caplog):
    who, add = lodging
    model = add(["answer", "refuse", "leave"])
    with caplog.at_level(logging.DEBUG):
        statuses = [ask(who, model).status_code for _ in range(3)]
    assert statuses == [200, 422, 503]
    with house.service.database.reading() as session:
        asked = select(Event).where(Event.action == "image.screen").order_by(Event.number)
        events = [(one.object, one.detail["verdict"]) for one in session.execute(asked).scalars()]
        every = json.dumps([one.detail for one in session.execute(select(Event)).scalars()])
    assert events == [(model, "suspicious"), (model, "refused")]
    assert "Doe" not in caplog.text and "Doe" not in every
    assert left(house) == []
    assert not [
        path for path in house.service.settings.home.rglob("*") if path.is_file() and png() in path.read_bytes()
    ]


@pytest.mark.parametrize("how", ["leave", "misnumber", "infinite"])
def test_a_process_that_ends_or_answers_nonsense_is_started_anew_by_the_next_image(house, lodging, how):
    who, add = lodging
    model = add([how])
    (plan,) = house.service.settings.folder("models", model).iterdir()
    found = ask(who, model)
    assert found.status_code == 503 and "was not judged" in found.json()["detail"]
    assert str(house.service.settings.home) not in found.text
    plan.write_text(json.dumps(["answer"]))
    assert ask(who, model).status_code == 200
    assert left(house) == []


def test_an_image_that_takes_too_long_is_given_up_and_its_process_ended(house, lodging):
    who, add = lodging
    screeners(house, patience=Patience(image=0.3))
    model = add(["hang"])
    found = ask(who, model)
    assert found.status_code == 503 and "within 0.3 s" in found.json()["detail"]
    assert left(house) == []


def test_a_model_that_cannot_be_opened_says_why_and_is_not_tried_again_at_once(house, lodging):
    who, add = lodging
    model = add("broken")
    for _ in range(2):
        found = ask(who, model)
        assert found.status_code == 422 and "holds NaN" in found.json()["detail"]
    assert "nonsense" not in found.text
    assert ask(who, add("nonsense first")).status_code == 503


def test_a_broken_model_and_a_refused_image_are_problems_with_their_reason(lodging):
    who, add = lodging
    assert "NaN" in ask(who, add(["break"])).json()["detail"]
    found = ask(who, add(["refuse"]))
    assert found.status_code == 422 and found.json()["detail"].startswith("not an image")
    assert found.headers["content-type"] == "application/problem+json"


def test_words_of_a_strangers_process_lose_their_control_characters_and_are_escaped(lodging):
    who, add = lodging
    model = add(["escape"])
    assert ask(who, model).json()["reasons"] == ["[31m<b>red"]
    page = who.client.post("/screen", data={"model": model}, files={"image": ("a", png())})
    assert "&lt;b&gt;red" in page.text and "<b>red" not in page.text


def test_one_too_many_is_told_to_come_back(house, lodging):
    who, add = lodging
    object.__setattr__(house.service, "settings", house.service.settings.model_copy(update={"screening_queue": 1}))
    made = screeners(house)
    model = add(["wait"])
    guard = next(house.service.settings.folder("guards").glob("*.safetensors"))
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(ask, who, model) for _ in range(2)]
        until(lambda: made._kept.get(model) and made._kept[model].waiting == 2)
        refused = ask(who, model)
        Path(f"{guard}.go").touch()
        assert [one.result().status_code for one in first] == [200, 200]
    assert refused.status_code == 429 and refused.headers["Retry-After"] == "2"


def test_at_most_so_many_models_are_open_and_the_one_that_rested_longest_is_closed(house, lodging):
    who, add = lodging
    made = house.service.screeners
    a, b, c = (add(["answer"]) for _ in range(3))
    for model in (a, b, a, c):
        assert ask(who, model).status_code == 200
    assert list(made._kept) == [a, c]
    kept = made._kept[a]
    made.close_model(a)
    assert not kept.alive and list(made._kept) == [c]


def test_a_newer_detector_takes_the_place_of_the_older(house, lodging):
    who, add = lodging
    model = add(["answer"])
    first, guard = ask(who, model).json()["guard"], new_id("grd")
    (house.service.settings.folder("guards") / f"{guard}.safetensors").touch()
    with house.service.database.writing() as session:
        session.add(GuardFile(id=guard, model_id=model, state="ready", project_id=who.project))
    assert ask(who, model).json()["guard"] == guard != first


def test_the_servers_end_is_that_of_its_processes(house, lodging):
    who, add = lodging
    model = add(["answer"])
    ask(who, model)
    kept = house.service.screeners._kept[model]
    house.service.screeners.close()
    assert not kept.alive
    assert not list(house.service.settings.folder("screening").glob("*/requests"))


def test_what_a_killed_server_left_is_removed_and_what_another_one_holds_is_not(tmp_path):
    alive, dead = Spool(tmp_path / "s"), Spool(tmp_path / "s")
    held, deserted = alive.room(), dead.room()
    (deserted / "image").write_bytes(b"pixels")
    dead.close()
    Spool(tmp_path / "s").room()
    assert held.is_dir() and not deserted.exists()


def test_the_viewers_role_is_refused(house, lodging):
    _, add = lodging
    model, viewer = add(["answer"]), house.person("viewer")
    assert ask(viewer, model).status_code == 403
    assert viewer.client.get("/screen").status_code == 403


def test_idor_a_model_of_another_project_is_not_there(house, lodging):
    _, add = lodging
    model, stranger = add(["answer"]), house.person("admin", project="other")
    assert ask(stranger, model).status_code == 404
    assert ask(stranger, model).json() == ask(stranger, new_id("mdl")).json()
    assert model not in stranger.client.get("/screen").text


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ({"state": "importing"}, 409, "not ready"),
        ({"guarded": False}, 422, "no detector is taught"),
    ],
)
def test_models_that_cannot_screen_say_why(lodging, how, status, words):
    who, add = lodging
    found = ask(who, add(["answer"], **how))
    assert found.status_code == status and words in found.json()["detail"]


def test_upload_limits_hold_while_the_image_comes(house, lodging):
    who, add = lodging
    object.__setattr__(house.service, "settings", house.service.settings.model_copy(update={"image_megabytes": 1}))
    model = add(["answer"])
    assert ask(who, model, b"x" * 1_000_001).status_code == 413
    assert left(house) == []


@pytest.mark.parametrize("form", [{"data": {}}, {"files": {"image": ("a", b"x")}}, {"content": b"", "headers": {}}])
def test_forms_without_image_or_model_are_refused(lodging, form):
    who, _ = lodging
    assert who.client.post(URL, **form).status_code in (400, 415, 422)


def test_the_page_offers_models_with_a_detector_and_says_how_to_teach_one(house, lodging):
    who, add = lodging
    assert "No model can screen yet" in who.client.get("/screen").text
    bare = add(["answer"], guarded=False)
    page = house.person("developer").client.get("/screen").text
    assert f"/models/{bare}" in page and "Teach one" in page
    model = add(["answer"])
    page = who.client.get("/screen").text
    assert f'value="{model}"' in page and f'value="{bare}"' not in page and "Not for diagnosis" in page


def test_without_javascript_the_form_gives_the_same_page_with_the_answer(house, lodging):
    who, add = lodging
    model = add(["answer", "refuse"])
    form = {"data": {"csrf_token": who.csrf, "model": model}, "files": {"image": ("a.png", png())}}
    del who.client.headers["X-CSRF-Token"]
    page = who.client.post("/screen", **form)
    assert page.status_code == 200 and page.headers["cache-control"] == "no-store"
    for said in ("Do not rely on the model", "87 % sure", "What to do", "<form", "Phantom"):
        assert said in page.text
    refused = who.client.post("/screen", **form)
    assert refused.status_code == 422 and "This image was not screened" in refused.text and "<form" in refused.text
    who.client.headers["X-CSRF-Token"] = "wrong"
    assert who.client.post("/screen", **form).status_code == 403


def test_a_script_gets_the_answer_alone(lodging):
    who, add = lodging
    page = who.client.post(
        "/screen", data={"model": add(["answer"])}, files={"image": ("a", png())}, headers={"X-Fragment": "answer"}
    )
    assert page.text.lstrip().startswith("<section") and "data-said=" in page.text


@pytest.mark.parametrize(
    "line", [b"", b"null", b"[]", b'{"phantom": "yes"}', b"[" * 100_000, b'{"phantom": true, "by": "x", "grid": "g"}']
)
def test_first_words_that_are_not_in_order_are_nonsense(line):
    with pytest.raises(Nonsense):
        parsed(Opened, line)


@pytest.mark.parametrize(
    "wrong",
    [
        {"refusal": "and yet"},
        {"screening": None},
        {"screening": {**lodgers.SCREENING, "confidence": 1.2}},
        {"screening": {**lodgers.SCREENING, "verdict": "fine"}},
        {"screening": {**lodgers.SCREENING, "probabilities": {}}},
        {"seconds": "1"},
        {"more": 1},
    ],
)
def test_answers_that_are_not_in_order_are_nonsense(wrong):
    said = {"number": 1, "screening": lodgers.SCREENING, "refusal": "", "broken": "", "seconds": 0.1}
    assert parsed(Said, json.dumps(said).encode()).screening
    with pytest.raises(Nonsense):
        parsed(Said, json.dumps({**said, **wrong}).encode())


def test_screenings_read_here_are_those_of_the_detectors_module():
    from radproof.detectors.screening import Screening

    told = Screening.model_validate_json(json.dumps(lodgers.SCREENING))
    line = {"number": 1, "screening": told.model_dump(mode="json"), "refusal": "", "broken": "", "seconds": 1.0}
    found = parsed(Said, json.dumps(line).encode())
    assert found.screening.model_dump(mode="json") == told.model_dump(mode="json")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> tuple[Path, Path]:
    """A small network with random weights in a folder of its own, and a guard of it for 24 × 24 grey images."""
    from radproof.detectors.guard import Choice, fit_guard
    from radproof.detectors.save import save_guard
    from radproof.models.blueprint import Blueprint
    from radproof.models.card import ModelCard, save_model
    from radproof.models.zoo import from_blueprint

    torch.manual_seed(0)
    labels = ("Normal", "Pneumonia")
    kind = Blueprint(
        architecture="cxrnet", labels=labels, input_size=24, channels=1, hidden=0, mean=(0.5,), std=(0.25,)
    )
    model = from_blueprint(kind).freeze()
    folder, guard = tmp_path_factory.mktemp("real") / "model", tmp_path_factory.mktemp("guard") / "g.safetensors"
    save_model(folder, model, ModelCard(**dict(kind), phantom=True))
    images = torch.rand(60, 1, 24, 24)
    clean = [{"clean": images[20:]}]
    save_guard(
        guard,
        fit_guard(model, Choice(name="frequency"), images[:20], clean, model_fingerprint=model.fingerprint()),
    )
    return folder, guard


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + _chunk(b"IEND", b"")
    )


def dicom(tmp_path: Path) -> bytes:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    one.PatientName, one.Modality, one.Rows, one.Columns = "Doe^Jane", "DX", 24, 24
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
    one.PixelData = bytes(range(24)) * 24
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, one, enforce_file_format=True)
    return stream.getvalue()


def test_hostile_images_are_refused_in_the_guarded_process_and_it_goes_on(house, lodging, real, tmp_path, caplog):
    """A real network and a real detector: a bomb, a torn file, another grid, no image, a DICOM file with a name."""
    import shutil

    who, add = lodging
    made = screeners(house, task="radproof.assess.screen_server:serve", paths=[])
    model = add([])
    folder = house.service.settings.folder("models", model)
    shutil.copytree(real[0], folder, dirs_exist_ok=True)
    shutil.copy(real[1], next(house.service.settings.folder("guards").glob("*.safetensors")))
    with house.service.database.writing() as session:
        session.get(Model, model).path = f"models/{model}"
    right = np.random.default_rng(0).integers(0, 256, (24, 24)).astype(np.uint8)
    with caplog.at_level(logging.DEBUG):
        found = ask(who, model, png(right))
        assert found.status_code == 200, found.text
        assert found.json()["phantom"] is True and sum(found.json()["probabilities"].values()) == pytest.approx(1)
        kept = made._kept[model]
        hostile = {
            "bomb": (bomb(), "pixels"),
            "torn": (png(right)[:200], "truncated or damaged"),
            "grid": (png(right[:, :20].copy()), "20 × 24 pixels"),
            "none": (b"<svg onload=alert(1)>", "none of PNG"),
            "empty": (b"", "empty"),
        }
        for name, (content, words) in hostile.items():
            told = ask(who, model, content)
            assert told.status_code == 422, (name, told.text)
            assert words in told.json()["detail"], (name, told.text)
        named = ask(who, model, dicom(tmp_path))
        assert named.status_code in (200, 422)
        assert "Doe" not in named.text
        assert ask(who, model, png(right)).json()["probabilities"] == found.json()["probabilities"]
    assert made._kept[model] is kept and kept.alive
    assert "Doe" not in caplog.text and left(house) == []
