# SPDX-License-Identifier: Apache-2.0
"""Reader tests: blinded, answered once and in order, told at the end, and nobody else's."""

import io
import re
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select
from tests.api.conftest import House, Person

from radproof.api.readers import asking, blinded
from radproof.api.results.pictures import Shown
from radproof.measure.choice import d_prime
from radproof.store.ids import new_id
from radproof.store.tables import Event, ReaderAnswer, ReaderTest, Run, SavedPlan

TRIALS = 6


@dataclass(frozen=True)
class Row:
    id: str
    sample: str
    column: str = "oblivious"


class Rows:
    """Twenty originals, each attacked on the model itself and on another network; ten fooled it."""

    def page(self, chosen, cursor, limit):
        if (chosen.attack, chosen.budget, chosen.defense) != ("pgd", "4/255", "none"):
            return [], None
        count = 10 if chosen.outcome == "fooled" else 20
        rows = [Row(f"{n}-{c}", str(n), c) for c in ("transfer", "oblivious") for n in range(count)]
        half = len(rows) // 2
        return (rows[:half], "more") if cursor is None else (rows[half:], None)


def drawn(number: str, kind: str) -> bytes:
    """The original is smooth and packs well; the attacked one is noise, in colour or grey, with a date in the file."""
    rng = np.random.default_rng(int(number.split("-")[0]))
    pixels = np.full((24, 20), 90, np.uint8) if kind == "original" else rng.integers(0, 255, (24, 20), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


@pytest.fixture
def run(house: House, monkeypatch) -> tuple[Person, str]:
    """A developer and their finished run."""
    developer = house.person("developer")
    monkeypatch.setattr(asking, "run_images", lambda settings, run: Rows())
    monkeypatch.setattr(blinded, "picture", lambda settings, run, name, kind: Shown(drawn(name, kind)))
    plan, name = new_id("pln"), new_id("run")
    from radproof.store.tables import Model

    model = new_id("mdl")
    with house.service.database.writing() as session:
        session.add(SavedPlan(id=plan, project_id=developer.project, name="p", digest="0" * 64))
        session.add(Model(id=model, project_id=developer.project, name="m", state="ready"))
        session.flush()
        session.add(Run(id=name, project_id=developer.project, name="r", plan_id=plan, model_id=model, state="done"))
    return developer, name


def made(told, **more):
    developer, name = told
    wanted = {"run": name, "attack": "pgd", "budget": "4/255", "trials": TRIALS, "seed": 5, "name": "Test A"}
    return developer.client.post("/api/v1/readers", json={**wanted, **more})


@pytest.fixture
def test_id(run) -> str:
    return made(run).json()["id"]


def image(who: Person, test: str, number: int, side: str):
    return who.client.get(f"/readers/{test}/{number}/{side}.png")


def altered(who: Person, test: str, number: int) -> str:
    """The noisy one, as a perfect reader sees it."""
    spread = {
        side: np.asarray(Image.open(io.BytesIO(image(who, test, number, side).content))).std()
        for side in ("left", "right")
    }
    return max(spread, key=lambda side: spread[side])


def do(who: Person, test: str, right: int, trials: int = TRIALS) -> None:
    """Do a test with so many right answers."""
    for number in range(1, trials + 1):
        found = altered(who, test, number)
        said = found if number <= right else {"left": "right", "right": "left"}[found]
        told = who.client.post(f"/api/v1/readers/{test}/trials/{number}", json={"answer": said, "seconds": 1.5})
        assert told.status_code == 201, told.text


def test_a_test_is_made_of_fooling_images_each_original_once(house, run, test_id):
    with house.service.database.reading() as session:
        test = session.get(ReaderTest, test_id)
    samples = [one["sample"] for one in test.trials]
    assert len(samples) == len(set(samples)) == TRIALS and all(int(one) < 10 for one in samples)
    assert all(one["image"].endswith("oblivious") for one in test.trials)
    assert made(run).json()["id"] != test_id
    with house.service.database.reading() as session:
        other = session.execute(select(ReaderTest).where(ReaderTest.id != test_id)).scalar_one()
    assert other.trials == test.trials  # the same seed


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"trials": 11}, 422),
        ({"trials": 11, "fooling": False}, 201),
        ({"trials": 0}, 422),
        ({"budget": "8/255"}, 422),
        ({"run": "run_nothing"}, 404),
        ({"surplus": 1}, 422),
    ],
)
def test_what_a_run_cannot_give_is_refused(run, more, status):
    assert made(run, **more).status_code == status


def test_the_same_request_makes_one_test_only(run):
    developer, name = run
    wanted = {"run": name, "attack": "pgd", "budget": "4/255", "trials": 2}
    first, second = (
        developer.client.post("/api/v1/readers", json=wanted, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    assert first.json() == second.json()


def test_roles_clinicians_do_tests_developers_make_them_and_viewers_neither(house, run, test_id):
    viewer, clinician = house.person("viewer"), house.person("clinician")
    assert made((clinician, run[1])).status_code == 403
    assert viewer.client.get("/api/v1/readers").status_code == 200
    for path in (f"/api/v1/readers/{test_id}", f"/readers/{test_id}", f"/readers/{test_id}/1/left.png"):
        assert viewer.client.get(path).status_code == 403
        assert clinician.client.get(path).status_code == 200
    assert clinician.client.delete(f"/api/v1/readers/{test_id}").status_code == 403
    assert run[0].client.delete(f"/api/v1/readers/{test_id}").status_code == 204


def test_idor_another_projects_test_is_not_there(house, test_id):
    stranger = house.person("admin", project="other").client
    api = f"/api/v1/readers/{test_id}"
    for path in (
        api,
        f"{api}/outcome",
        f"{api}/trials/1/left.png",
        f"/readers/{test_id}",
        f"/readers/{test_id}/1/left.png",
    ):
        assert stranger.get(path).status_code == stranger.get(path.replace(test_id, new_id("rdr"))).status_code == 404
    assert stranger.post(f"{api}/trials/1", json={"answer": "left", "seconds": 1}).status_code == 404
    assert stranger.delete(api).status_code == 404
    assert test_id not in stranger.get("/api/v1/readers").text + stranger.get("/readers").text


def test_blinding_two_images_differ_in_nothing_but_their_pixels(house, test_id):
    who = house.person("clinician")
    left, right = (image(who, test_id, 1, side) for side in ("left", "right"))
    drop = "x-request-id"
    assert {k: v for k, v in left.headers.items() if k != drop} == {k: v for k, v in right.headers.items() if k != drop}
    assert not {"etag", "last-modified", "content-disposition"} & set(left.headers)
    assert len(left.content) == len(right.content) and left.content != right.content
    chunks = [
        re.findall(rb"IHDR.{13}|IDAT|IEND|tEXt|tIME|eXIf|pHYs|iTXt", one.content, re.DOTALL)[:2]
        for one in (left, right)
    ]
    assert chunks[0] == chunks[1] and chunks[0][0].startswith(b"IHDR")
    assert left.headers["cache-control"] == "no-store"


def test_blinding_colour_in_one_of_two_images_makes_both_colour():
    grey, stream = drawn("1", "original"), io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)).save(stream, "PNG")
    first, second = blinded.pair(grey, stream.getvalue())
    assert (
        len(first) == len(second) and Image.open(io.BytesIO(first)).mode == Image.open(io.BytesIO(second)).mode == "RGB"
    )


def test_blinding_the_page_and_the_api_tell_neither_run_nor_attack_nor_side(house, run, test_id):
    who = house.person("clinician")
    texts = [
        who.client.get(f"/readers/{test_id}?begin=1").text,
        who.client.get("/readers").text,
        who.client.get(f"/api/v1/readers/{test_id}").text,
        who.client.get("/api/v1/readers").text,
    ]
    for text in texts:
        assert "pgd" not in text and "4/255" not in text and run[1] not in text and "oblivious" not in text
    sources = re.findall(r'<img src="([^"]+)"', texts[0])
    assert sources == [f"/readers/{test_id}/1/left.png", f"/readers/{test_id}/1/right.png"]


def test_blinding_order_and_sides_are_drawn_for_each_reader(house, run):
    made(run, trials=10)
    with house.service.database.reading() as session:
        test = session.execute(select(ReaderTest)).scalar_one()
    a, b = (asking.arranged(test, f"usr_{n}") for n in range(2))
    assert a != b and a == asking.arranged(test, "usr_0")
    assert sorted(place for place, _ in a) == list(range(10))
    sides = [side for n in range(100) for _, side in asking.arranged(test, f"u{n}")]
    assert 420 < sides.count("left") < 580


def test_later_trials_are_not_shown_yet(house, test_id):
    who = house.person("clinician")
    assert image(who, test_id, 2, "left").status_code == 404
    assert image(who, test_id, 1, "middle").status_code == 422
    assert image(who, test_id, 99999, "left").status_code == 422


def test_an_answer_is_given_once_and_in_order(house, test_id):
    who = house.person("clinician")
    url = f"/api/v1/readers/{test_id}/trials"
    said = {"answer": "left", "seconds": 2.0}
    assert who.client.post(f"{url}/2", json=said).status_code == 409
    assert who.client.post(f"{url}/1", json=said).json() == {
        "trials": TRIALS,
        "answered": 1,
        "finished": False,
        "given_up": False,
    }
    again = who.client.post(f"{url}/1", json={**said, "answer": "right"})
    assert again.status_code == 409 and "once" in again.json()["detail"]
    assert who.client.post(f"{url}/7", json=said).status_code == 404
    with house.service.database.reading() as session:
        (kept,) = session.execute(select(ReaderAnswer)).scalars()
    assert (kept.answer, kept.seconds) == ("left", 2.0)


@pytest.mark.parametrize("wrong", [{"answer": "both"}, {"seconds": -1}, {"seconds": "NaN"}, {"more": 1}])
def test_answers_that_are_none_are_refused(house, test_id, wrong):
    who = house.person("clinician")
    said = {"answer": "left", "seconds": 2.0, **wrong}
    assert who.client.post(f"/api/v1/readers/{test_id}/trials/1", json=said).status_code == 422


def test_the_truth_is_told_after_the_last_answer_and_the_pooled_outcome_to_those_who_finished(house, run, test_id):
    first, second = house.person("clinician"), house.person("clinician")
    url = f"/api/v1/readers/{test_id}/outcome"
    do(first, test_id, TRIALS - 1, TRIALS - 1)
    assert first.client.get(url).status_code == 403
    said = {"answer": altered(first, test_id, TRIALS), "seconds": 2}
    first.client.post(f"/api/v1/readers/{test_id}/trials/{TRIALS}", json=said)
    own = first.client.get(url).json()
    assert own["own"]["correct"] == TRIALS and own["own"]["shown"].startswith("at least")
    assert [one["correct"] for one in own["trials"]] == [True] * TRIALS
    assert second.client.get(url).status_code == 403
    developer = run[0].client.get(url).json()
    assert developer["own"] is None and developer["trials"] == [] and developer["pooled"]["answers"] == TRIALS
    do(second, test_id, 2)
    found = second.client.get(url).json()
    assert [one["reader"] for one in found["readers"]] == ["Reader 1", "Reader 2 (you)"]
    assert found["pooled"]["correct"] == TRIALS + 2 and found["pooled"]["images"] == TRIALS
    assert "cluster bootstrap over images" in found["pooled"]["d_prime"]["method"]
    assert found["pooled"]["d_prime"]["value"] == pytest.approx(d_prime((TRIALS + 2) / (2 * TRIALS)))
    assert first.id not in str(found) and "not established" in found["own"]["sentence"]
    assert second.client.get(f"/api/v1/readers/{test_id}").json()["attack"] == "pgd"
    with house.service.database.reading() as session:
        ended = session.execute(select(Event.actor).where(Event.action == "reader.finish")).scalars().all()
    assert ended == [first.id, second.id]


def test_without_javascript_a_test_is_made_done_left_resumed_and_told(house, run):
    developer, name = run
    form = {"csrf_token": developer.csrf, "run": name, "which": "pgd@4/255", "trials": "3", "name": "Test B"}
    found = developer.client.post("/readers/new", data=form, follow_redirects=False)
    assert found.status_code == 303
    url = found.headers["location"]
    who = house.person("clinician")
    start = who.client.get(url).text
    assert "If you cannot tell, guess" in start and f'href="{url}?begin=1"' in start
    for number in range(1, 4):
        page = who.client.get(f"{url}?begin=1").text
        assert f"Trial {number} of 3" in page and "Not for diagnosis" in page
        shown = re.search(r'name="shown" value="([\d.]+)"', page).group(1)
        given = {"csrf_token": who.csrf, "trial": str(number), "answer": "left", "shown": shown, "seconds": ""}
        for _ in range(2):  # a second click changes nothing
            assert who.client.post(url, data=given, follow_redirects=False).headers["location"] == f"{url}?begin=1"
    page = who.client.get(url).text
    assert "Your result" in page and "not established" in page.lower() and "of 3 right" in page and "pgd" in page
    with house.service.database.reading() as session:
        seconds = session.execute(select(ReaderAnswer.seconds)).scalars().all()
    assert len(seconds) == 3 and all(0 <= one < 60 for one in seconds)
    assert developer.client.get("/readers").status_code == 200
    assert (
        developer.client.post(f"{url}/remove", data={"csrf_token": developer.csrf}, follow_redirects=False).status_code
        == 303
    )
    assert developer.client.get(url).status_code == 404
