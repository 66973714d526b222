# SPDX-License-Identifier: Apache-2.0
"""Drawn pictures: one failure for all who waited, nothing large while one waits, nothing of a model that is gone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.api.conftest import House, Person
from tests.api.results.test_drawing import _fresh, draw, faked, home, rows, seeds, viewer  # noqa: F401
from tests.api.seeded import Seeds, until

from radproof.api.http.problems import Problem
from radproof.api.results import drawing, pictures
from radproof.api.results.caching import BoundedCache
from radproof.store.tables import Model


class Key:
    """Equal to every other; it counts how often it was looked up."""

    def __init__(self) -> None:
        self.looks = 0

    def __hash__(self) -> int:
        self.looks += 1
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key)


def test_dos_who_waited_for_one_thing_shares_its_failure_and_the_next_one_tries_again() -> None:
    kept: BoundedCache[int] = BoundedCache(4, 100, lambda _: 1)
    go, tries, keys = threading.Event(), [], [Key() for _ in range(8)]

    def make() -> int:
        tries.append(1)
        assert go.wait(10)
        raise Problem(503, "the model is being opened")

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(kept.get, key, make) for key in keys]
        until(lambda: all(key.looks > 1 for key in keys))
        go.set()
        failed = [one.exception(10) for one in asked]
    assert len(tries) == 1 and all(isinstance(one, Problem) for one in failed)
    assert kept.get(Key(), lambda: 7) == 7


@pytest.fixture
def shelf(house: House, seeds: Seeds, home: Path) -> Path:  # noqa: F811
    """The run's model lies on the shelf, and answers."""
    faked(house, home, "answer")
    folder = house.service.settings.folder("models", seeds.model)
    folder.parent.mkdir(exist_ok=True)
    (home / "model").rename(folder)
    return folder


def first(viewer: Person, seeds: Seeds) -> str:  # noqa: F811
    return next(row["id"] for row in rows(viewer, seeds) if row["drawn"])


def test_what_a_removed_model_drew_is_no_longer_served(house, viewer, seeds, shelf) -> None:  # noqa: F811
    name = first(viewer, seeds)
    kept = draw(viewer, seeds, name)
    known = {"If-None-Match": kept.headers["etag"]}
    assert draw(viewer, seeds, name, **known).status_code == 304
    with house.service.database.writing() as session:
        session.get(Model, seeds.model).state = "removed"
    for headers in ({}, known):
        assert draw(viewer, seeds, name, **headers).status_code == 404
    with house.service.database.writing() as session:
        session.get(Model, seeds.model).state = "ready"
    for file in shelf.iterdir():
        file.unlink()
    assert "was removed" in draw(viewer, seeds, name, **known).json()["detail"]


@pytest.mark.parametrize("how", ["version", "row", "file"])
def test_a_drawn_pictures_tag_tells_program_and_model(house, viewer, seeds, shelf, how, monkeypatch) -> None:  # noqa: F811
    name = first(viewer, seeds)
    kept = draw(viewer, seeds, name)
    process = house.service.screeners.drawers._pool.kept[seeds.model]
    if how == "version":
        monkeypatch.setattr(drawing, "__version__", "9")
    elif how == "row":
        with house.service.database.writing() as session:
            session.get(Model, seeds.model).fingerprint = "9" * 64
    else:
        card = (shelf / "card.yaml").read_bytes()
        (shelf / "card.yaml").unlink()  # a link to one copy of the tests
        (shelf / "card.yaml").write_bytes(card + b"#\n")
    found = draw(viewer, seeds, name, **{"If-None-Match": kept.headers["etag"]})
    assert found.status_code == 200 and found.headers["etag"] != kept.headers["etag"]
    assert process.alive == (how == "version"), "a model that was replaced is opened anew"


def test_dos_nothing_large_is_decoded_or_kept_while_a_picture_waits(house, viewer, seeds, home, monkeypatch) -> None:  # noqa: F811
    faked(house, home, "answer")
    order, drawers = [], house.service.screeners.drawers
    read, drew = drawing.source, drawers.draw
    monkeypatch.setattr(drawing, "source", lambda *told: order.append("read") or read(*told))

    def late(subject, content, question, size):
        order.append("turn")
        assert not isinstance(content, bytes) and all(isinstance(one, int) for one in size)
        return drew(subject, content, question, size)

    monkeypatch.setattr(drawers, "draw", late)
    monkeypatch.setattr(pictures, "unit", None)
    assert draw(viewer, seeds, first(viewer, seeds)).status_code == 200
    assert order[order.index("turn") + 1 :] == ["read"], "the file is read again at its turn"


def test_many_who_ask_for_one_picture_take_one_place_and_are_bounded(house, viewer, seeds, home) -> None:  # noqa: F811
    faked(house, home, "wait")
    drawers, name = house.service.screeners.drawers, first(viewer, seeds)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(draw, viewer, seeds, name) for _ in range(3)]
        until(lambda: drawers._asking._value == 13 and drawers._pool.kept)
        assert drawers._places._value == 7
        rest = [drawers.asking() for _ in range(13)]
        for one in rest:
            one.__enter__()
        refused = draw(viewer, seeds, name)
        for one in rest:
            one.__exit__(None, None, None)
        (home / "model" / "go").touch()
        assert [one.result().status_code for one in asked] == [200] * 3
    assert refused.status_code == 429 and drawers._asking._value == 16 and drawers._places._value == 8


def test_removing_a_run_ends_the_process_that_drew_of_it(house, viewer, seeds, home) -> None:  # noqa: F811
    faked(house, home, "answer")
    assert draw(viewer, seeds, first(viewer, seeds)).status_code == 200
    process = house.service.screeners.drawers._pool.kept[seeds.run]
    assert house.person("developer").client.delete(f"/api/v1/runs/{seeds.run}").status_code == 204
    assert not process.alive and seeds.run not in house.service.screeners.drawers._pool.kept
