# SPDX-License-Identifier: Apache-2.0
"""Defended pictures and Grad-CAM overlays that are drawn when they are asked for."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.api.conftest import House, Person
from tests.api.seeded import Seeds, finished_run, seed, until

from radproof.api.results import drawing
from radproof.api.results.caching import BoundedCache
from radproof.api.results.drawable import NOTHING, Drawable
from radproof.api.screening.answers import Nonsense, parsed
from radproof.api.screening.drawers import Drawer
from radproof.api.screening.held import Patience
from radproof.core.resident import Silent
from radproof.store.tables import Model, Run

FAKE = Path(__file__).parent


@pytest.fixture
def seeds(house: House, tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return seed(house, finished_run(tmp_path_factory.getbasetemp()))


@pytest.fixture
def home(house: House, seeds: Seeds) -> Path:
    return house.service.settings.folder("runs", seeds.run)


@pytest.fixture
def viewer(house: House) -> Person:
    return house.person("viewer")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_DRAWN", BoundedCache(100, 2**20, len))


def rewrite(path: Path, text: str) -> None:
    path.unlink()  # the run's files are links to one copy
    path.write_text(text)


def faked(house: House, home: Path, what: str) -> None:
    """The run's model draws as `what` says."""
    house.service.screeners.drawers.task, house.service.screeners.drawers.paths = "sketcher:serve", [FAKE]
    (home / "model" / "plan.json").unlink(missing_ok=True)
    (home / "model" / "plan.json").write_text(json.dumps(what))


def rows(viewer: Person, seeds: Seeds, **chosen: str) -> list[dict[str, Any]]:
    return viewer.client.get(f"/api/v1/runs/{seeds.run}/images", params={"limit": 100, **chosen}).json()["items"]


def draw(viewer: Person, seeds: Seeds, name: str, kind: str = "cam_before", **headers: str) -> Any:
    return viewer.client.get(f"/api/v1/runs/{seeds.run}/images/{name}/{kind}.png", headers=headers)


def asked_for(content: bytes) -> dict[str, Any]:
    """What the fake was asked, which it wrote into its picture."""
    with Image.open(io.BytesIO(content)) as image:
        return json.loads(np.asarray(image).tobytes().rstrip(b"\0"))


def hashes(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def test_what_is_drawn_equals_the_gallerys_pictures_and_the_run_stays_as_it_is(
    house: House, viewer: Person, seeds: Seeds, home: Path
) -> None:
    """By the real process: the gallery is taken out of the result, and its pictures are asked for again."""
    kept = {
        (row["id"], kind): draw(viewer, seeds, row["id"], kind).content
        for row in rows(viewer, seeds)
        for kind in row["kinds"]
        if kind in ("defended", "cam_before", "cam_after")
    }
    assert len(kept) == 6
    result = json.loads((home / "result.json").read_text())
    rewrite(home / "result.json", json.dumps({**result, "gallery": []}))
    before = hashes(home)
    for row in rows(viewer, seeds):
        assert row["drawn"] == ["defended", "cam_before", "cam_after"], row
    for (name, kind), content in kept.items():
        found = draw(viewer, seeds, name, kind)
        assert (found.status_code, found.headers["content-type"]) == (200, "image/png"), found.text
        assert found.content == content, (name, kind)
    assert hashes(home) == before


def test_a_picture_is_drawn_once_and_then_kept(house: House, viewer: Person, seeds: Seeds, home: Path) -> None:
    faked(house, home, "answer")
    name = next(row["id"] for row in rows(viewer, seeds) if row["drawn"])
    first = draw(viewer, seeds, name)
    assert first.status_code == 200
    house.service.screeners.drawers.end(seeds.run)
    faked(house, home, "leave")
    assert draw(viewer, seeds, name).content == first.content
    again = draw(viewer, seeds, name, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert draw(viewer, seeds, name, "cam_after").status_code == 503


def test_the_question_names_class_defence_and_levels(house: House, viewer: Person, seeds: Seeds, home: Path) -> None:
    faked(house, home, "answer")
    result = json.loads((home / "result.json").read_text())
    bare = next(row for row in rows(viewer, seeds, defense="none") if row["drawn"])
    behind = rows(viewer, seeds, defense=next(one["defense"] for one in result["cells"] if one["defense"] != "none"))[0]
    found = asked_for(draw(viewer, seeds, bare["id"], "cam_before").content)
    assert found["class_"] == result["labels"].index(bare["truth"])
    assert (found["fingerprint"], found["labels"]) == (result["provenance"]["model"], result["labels"])
    assert found["bytes"] > 0 and found["channels"] == 1
    found = asked_for(draw(viewer, seeds, bare["id"], "cam_after").content)
    assert found["class_"] == result["labels"].index(bare["attacked_answer"])
    assert asked_for(draw(viewer, seeds, behind["id"], "cam_after").content)["class_"] is None
    first, other = (asked_for(draw(viewer, seeds, one["id"], "defended").content) for one in (bare, behind))
    assert [one["name"] for one in first["defenses"]] == [one["name"] for one in other["defenses"]] == ["jpeg"]
    assert (first["label"], other["label"]) == ("", behind["defense"])


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("refuse", 422, "convolutional feature maps"),
        ("broken", 422, "holds NaN"),
        ("leave", 503, "was not drawn"),
        ("hang", 503, "within 0.3 s"),
    ],
)  # fmt: skip
def test_a_process_that_fails_or_talks_nonsense_is_told_in_words(
    house: House, viewer: Person, seeds: Seeds, home: Path, what: str, status: int, words: str
) -> None:
    faked(house, home, what)
    if what == "hang":
        house.service.screeners.drawers.patience = Patience(image=0.3)
    name = next(row["id"] for row in rows(viewer, seeds) if row["drawn"])
    found = draw(viewer, seeds, name)
    assert found.status_code == status and words in found.json()["detail"], found.text
    assert str(house.service.settings.home) not in found.text
    page = viewer.client.get(f"/runs/{seeds.run}/images/{name}?draw=cam_before")
    assert page.status_code == 200 and words in page.text  # a page tells it, and shows the rest
    if what == "leave":
        faked(house, home, "answer")
        assert draw(viewer, seeds, name).status_code == 200  # the next one starts it anew


class Lines:
    """A process that has these lines to say."""

    def __init__(self, *lines: dict[str, Any]) -> None:
        self.lines = [{"number": 1, **line} for line in lines]

    @contextmanager
    def turn(self) -> Iterator[None]:
        yield

    def ask(self, kind: Any, question: Any, put: Any) -> Any:
        return self.more(kind, 1)

    def more(self, kind: Any, seconds: float) -> Any:
        if not self.lines:
            raise Silent("it did not answer in time")
        return parsed(kind, json.dumps(self.lines.pop(0)).encode())


@pytest.mark.parametrize(
    ("sketch", "pieces", "words"),
    [
        ({"height": 20_000, "width": 20_000, "channels": 3}, [], "another size"),
        ({"channels": 0}, [], "another size"),
        ({"channels": 4}, [], "not in order"),
        ({"height": -2}, [], "not in order"),
        ({}, [bytes(7)], "more bytes"),
        ({}, [bytes(5)], "in time"),
        ({}, ["AAAA", "%%%"], "not in order"),
        ({}, [""], "not in order"),
        ({}, ["A" * 200_004], "not in order"),
    ],
)
def test_pictures_that_are_not_in_order_are_nonsense(sketch: dict[str, Any], pieces: list[Any], words: str) -> None:
    drawer = object.__new__(Drawer)
    drawer._patience = Patience()
    first = {"refusal": "", "height": 2, "width": 3, "channels": 1, **sketch}
    told = [one if isinstance(one, str) else base64.b64encode(one).decode() for one in pieces]
    drawer._held = Lines(first, *({"piece": one} for one in told))
    with pytest.raises((Nonsense, Silent), match=words):
        drawer.draw(bytes, {}, (2, 3))


def test_one_too_many_is_told_to_come_back(
    house: House, viewer: Person, seeds: Seeds, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked(house, home, "wait")
    drawers = house.service.screeners.drawers
    first, *others = [row["id"] for row in rows(viewer, seeds) if row["drawn"]]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(draw, viewer, seeds, first)
        until(lambda: drawers._pool.kept)
        held = [drawers.place() for _ in range(7)]
        for one in held:
            one.__enter__()
        refused = draw(house.person("viewer"), seeds, others[0])
        for one in held:
            one.__exit__(None, None, None)
        (home / "model" / "go").touch()
        assert waiting.result().status_code == 200
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")


def test_drawing_counts_as_screening_and_what_is_kept_does_not(
    house: House, viewer: Person, seeds: Seeds, home: Path
) -> None:
    faked(house, home, "answer")
    first, second = [row["id"] for row in rows(viewer, seeds) if row["drawn"]][:2]
    assert draw(viewer, seeds, first).status_code == 200
    limits = house.service.limits
    limits._buckets["screen"][viewer.id] = (0.0, limits._buckets["screen"][viewer.id][1])
    assert draw(viewer, seeds, first).status_code == 200
    limits._rates["screen"] = 1
    refused = draw(viewer, seeds, second)
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1


def test_the_model_of_the_shelf_draws_where_the_run_trained_none_and_its_end_is_told(
    house: House, viewer: Person, seeds: Seeds, home: Path
) -> None:
    faked(house, home, "answer")
    shelf = house.service.settings.folder("models", seeds.model)
    shelf.parent.mkdir(exist_ok=True)
    (home / "model").rename(shelf)
    first, second = [row["id"] for row in rows(viewer, seeds) if row["drawn"]][:2]
    assert draw(viewer, seeds, first).status_code == 200
    drawer = house.service.screeners.drawers._pool.kept[seeds.model]
    house.service.screeners.close_model(seeds.model)
    assert not drawer.alive
    with house.service.database.writing() as session:
        session.get(Model, seeds.model).state = "removed"
    gone = draw(viewer, seeds, second)
    assert gone.status_code == 404 and "model was removed" in gone.json()["detail"]


def test_a_model_that_draws_nothing_more_is_closed(house: House, viewer: Person, seeds: Seeds, home: Path) -> None:
    faked(house, home, "answer")
    drawers = house.service.screeners.drawers
    drawers.rest = 0.05
    assert draw(viewer, seeds, next(row["id"] for row in rows(viewer, seeds) if row["drawn"])).status_code == 200
    until(lambda: not drawers._pool.kept)


def test_a_stranger_sees_nothing(house: House, seeds: Seeds, viewer: Person) -> None:
    name = next(row["id"] for row in rows(viewer, seeds) if row["drawn"])
    assert draw(house.person("admin", project="other"), seeds, name).status_code in (403, 404)


def told(**plan: Any) -> Drawable:
    whole = {"model": {}, "defenses": [{"name": "jpeg"}, {"name": "median"}], "hardened": {}, "seed": 3, **plan}
    return Drawable.of({"plan": whole, "head": "softmax", "labels": ["a", "b"], "provenance": {"model": "f"}})


def test_where_there_can_be_no_picture_the_reason_is_told() -> None:
    parts = {
        "other": {"train": {}},
        "behind": {"like": "model", "behind": [{"name": "jpeg"}]},
        "denoised": {"like": "model", "denoiser": {"eps": 0.1}},
    }
    found = told(hardened=parts)
    assert found.why_not("defended", "none") == found.why_not("cam_after", "none") == ""
    assert "changes no image" in found.why_not("defended", "other")
    assert "another network" in found.why_not("cam_before", "other")
    assert found.why_not("defended", "behind") == found.why_not("cam_before", "behind") == ""
    assert "trained network" in found.why_not("defended", "denoised")
    assert "no defence" in told(defenses=[]).why_not("defended", "none")
    assert "only answers" in told(model={"black_box": True}).why_not("cam_after", "none")
    assert found.parts("none") == (({"name": "jpeg"},), "")
    assert found.parts("median(3)") == (({"name": "jpeg"}, {"name": "median"}), "median(3)")
    assert found.parts("behind") == (({"name": "jpeg"},), "")


def test_of_findings_side_by_side_the_one_that_moved_most_is_explained(
    house: House, viewer: Person, seeds: Seeds
) -> None:
    from radproof.api.results.images import run_images

    with house.service.database.reading() as session:
        images = run_images(house.service.settings, session.get(Run, seeds.run))
    images = replace(images, drawable=replace(NOTHING, head="sigmoid", labels=images.drawable.labels))
    row = images.one(rows(viewer, seeds)[0]["id"])
    at = images.table.named(row.id)
    moved = np.abs(images.table.logits[at] - images.table.logits[images.table.clean[at]])
    found = drawing.classes(images, row)
    assert found.before == found.after == int(moved.argmax())
