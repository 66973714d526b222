# SPDX-License-Identifier: Apache-2.0
"""Who counts in a reader test: catch trials, attention, the maker; offers that hold; a list that asks little."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event
from tests.api.conftest import House, Person
from tests.api.readers.test_asking import TRIALS, Row, Rows, altered, do, drawn, image, made, run, test_id  # noqa: F401

from radproof.api.readers import blinded, outcomes
from radproof.api.readers.asking import arranged, is_catch, originals
from radproof.api.results.images import RunImages
from radproof.api.results.table import Table, Texts
from radproof.store.tables import ReaderTest

LONG, CAUGHT = 20, 5


@pytest.fixture
def long_test(run) -> str:  # noqa: F811
    """Twenty trials, five of them catch trials."""
    return made(run, trials=LONG, fooling=False).json()["id"]


def catches(house: House, name: str, who: Person) -> list[int]:
    """The numbers of this reader's catch trials."""
    with house.service.database.reading() as session:
        test = session.get(ReaderTest, name)
    assert test.choice["catch"] == {"kind": "chequered square", "trials": CAUGHT}
    return [number for number, (place, _) in enumerate(arranged(test, who.id), 1) if is_catch(test, place)]


def say(who: Person, name: str, side: str, trials: int = LONG) -> None:
    for number in range(1, trials + 1):
        told = who.client.post(f"/api/v1/readers/{name}/trials/{number}", json={"answer": side, "seconds": 0.4})
        assert told.status_code == 201, told.text


def outcome(who: Person, name: str, query: str = "") -> dict:
    return who.client.get(f"/api/v1/readers/{name}/outcome{query}").json()


def test_blinding_catch_trials_are_sent_like_the_others_and_nobody_who_looks_can_miss_them(house, long_test):
    who = house.person("clinician")
    numbers = catches(house, long_test, who)
    sizes = set()
    for number in range(1, LONG + 1):
        pages = [who.client.get(f"/readers/{long_test}?begin=1").text, who.client.get("/api/v1/readers").text]
        assert not any("catch" in text.replace('"catch_trials":null', "") for text in pages)
        pair = {side: image(who, long_test, number, side) for side in ("left", "right")}
        left, right = (pair[side] for side in ("left", "right"))
        assert set(left.headers) == set(right.headers) and len(left.content) == len(right.content)
        assert left.content == image(who, long_test, number, "left").content, "asked again, it is the same"
        sizes.add(len(left.content))
        side = altered(who, long_test, number)
        if number in numbers:
            shown, plain = (
                np.asarray(Image.open(io.BytesIO(pair[one].content))).astype(int)
                for one in (side, {"left": "right", "right": "left"}[side])
            )
            changed = np.abs(shown - plain) > 80
            assert (plain == 90).all() and changed.sum() == 25 and {0, 255} <= set(shown[changed])
        who.client.post(f"/api/v1/readers/{long_test}/trials/{number}", json={"answer": side, "seconds": 1})
    assert len(numbers) == CAUGHT and len(sizes) == 1, "no length tells a catch trial"


def test_the_square_of_a_catch_trial_is_drawn_in_colour_and_on_small_images():
    for shape in ((1, 1), (3, 9), (40, 30), (40, 30, 3)):
        grey = np.full(shape, 127, np.uint8)
        made_ = blinded.chequered(grey, (3, 1))
        assert made_.shape == shape and (made_ != grey).any() and (grey == 127).all()


def test_catch_trials_count_for_attention_alone(house, long_test):
    who = house.person("clinician")
    do(who, long_test, LONG, LONG)
    found = outcome(who, long_test)
    assert found["own"]["answers"] == found["pooled"]["answers"] == LONG - CAUGHT
    assert sum(one["catch"] for one in found["trials"]) == CAUGHT and len(found["trials"]) == LONG
    (reader,) = found["readers"]
    assert reader["attentive"] and reader["pooled"] and not reader["made_the_test"]
    assert reader["attention"]["missed"] == 0 and reader["attention"]["seconds"] == 1.5
    sides = found["own"]["sides"]
    assert sides["hits"] == sides["lefts"] and sides["false_alarms"] == 0 and sides["d_prime"]["value"] > 1.5
    page = who.client.get(f"/readers/{long_test}").text
    assert "of them 5 catch trials" in page and "5 of 5" in page and page.count("right, catch trial") == CAUGHT


@pytest.mark.parametrize("how", ["left", "blind"])
def test_who_never_looks_is_shown_and_left_out_of_the_pool(house, run, long_test, how):  # noqa: F811
    careless, careful = house.person("clinician"), house.person("clinician")
    if how == "left":
        say(careless, long_test, "left")
    else:  # finds every catch trial wrong, the rest half
        numbers = catches(house, long_test, careless)
        for number in range(1, LONG + 1):
            side = altered(careless, long_test, number)
            wrong = {"left": "right", "right": "left"}[side] if number in numbers or number % 2 else side
            url = f"/api/v1/readers/{long_test}/trials/{number}"
            careless.client.post(url, json={"answer": wrong, "seconds": 1})
    found = outcome(careless, long_test)
    assert not found["readers"][0]["attentive"] and not found["readers"][0]["pooled"]
    if how == "left":  # whichever side the catch trials were on
        assert "one side" in found["readers"][0]["attention"]["why"][-1]
        assert found["readers"][0]["attention"]["left"]["n"] == LONG
    assert found["pooled"]["answers"] == found["pooled"]["readers"] == 0
    page = careless.client.get(f"/readers/{long_test}").text
    assert "Not attentive" in page and "not attentive: " in page and "Nobody who finished counts yet" in page
    do(careful, long_test, LONG, LONG)
    found = outcome(careful, long_test)
    assert [one["pooled"] for one in found["readers"]] == [False, True]
    assert found["pooled"]["readers"] == 1 and found["pooled"]["correct"] == LONG - CAUGHT
    assert "1 reader finished" not in run[0].client.get("/readers").text


def test_the_maker_of_a_test_is_marked_and_left_out_of_the_pool_unless_asked_for(house, run, test_id):  # noqa: F811
    maker, other = run[0], house.person("developer")
    do(maker, test_id, TRIALS)
    do(other, test_id, 3)
    found = outcome(other, test_id)
    assert [(one["made_the_test"], one["pooled"]) for one in found["readers"]] == [(True, False), (False, True)]
    assert found["pooled"]["answers"] == TRIALS
    assert outcome(other, test_id, "?maker=true")["pooled"]["answers"] == 2 * TRIALS
    assert "made the test" in other.client.get(f"/readers/{test_id}?outcome=1").text
    assert "You made this test" in maker.client.get(f"/readers/{test_id}").text


def table() -> Table:
    """Thirty rows of ten originals under one attack, three columns each; six originals fooled, in all three."""
    rows = [(n, c) for c in ("oblivious", "transfer", "aware") for n in range(10)]
    held = {"attack": "pgd", "budget": "4/255", "defense": "none", "goal": "g", "made_on": "m", "truth": "t"}
    columns = {name: [value] * len(rows) for name, value in held.items()}
    columns |= {"sample": [str(n) for n, _ in rows], "column": [c for _, c in rows], "file": ["f"] * len(rows)}
    texts = {}
    for name, values in columns.items():
        known = sorted(set(values) | ({"", "clean"} if name in ("column", "file") else set()))
        texts[name] = Texts(np.array([known.index(one) for one in values]), tuple(known))
    reached = np.array([n < 6 for n, _ in rows])
    numbers = {"eps": np.full(len(rows), 4 / 255), "clean_right": np.ones(len(rows), bool), "reached": reached}
    return Table(texts, numbers, np.zeros((len(rows), 2)), "softmax")


class Fooled(Rows):
    """The same as candidates reads them."""

    table = table()
    facets = RunImages(table).facets
    outcome_by_budget = RunImages(table).outcome_by_budget

    def page(self, chosen, cursor, limit):
        count = 6 if chosen.outcome == "fooled" else 10
        return [Row(f"{n}-{c}", str(n), c) for c in ("transfer", "oblivious") for n in range(count)], None


def test_a_new_test_is_made_at_its_own_default_and_what_was_chosen_stays(run, monkeypatch):  # noqa: F811
    developer, name = run
    for place in ("radproof.api.web.readers.run_images", "radproof.api.readers.asking.run_images"):
        monkeypatch.setattr(place, lambda settings, run: Fooled())
    assert originals(Fooled(), "pgd", "4/255") == (10, 6)
    page = developer.client.get(f"/readers/new?run={name}").text
    assert "pgd at 4/255: 6 of 10 images fooled the model" in page
    trials = re.search(r'name="trials"[^>]*value="(\d+)"', page).group(1)
    assert trials == "6"
    form = {"run": name, "which": "pgd@4/255", "trials": trials}
    assert developer.client.post("/readers/new", data=form, follow_redirects=False).status_code == 303
    again = developer.client.post("/readers/new", data={**form, "trials": "11", "every": "yes", "name": "N"})
    assert again.status_code == 422 and "ask for 1 to 10 trials" in again.text
    assert re.search(r'<input type="checkbox"[^>]*name="every"[^>]* checked', again.text)
    assert 'value="11"' in again.text and 'value="N"' in again.text


def test_the_list_asks_three_questions_and_works_an_outcome_out_once(house, run, monkeypatch):  # noqa: F811
    developer = run[0]
    names = [made(run, seed=seed).json()["id"] for seed in range(4)]
    for reader in (house.person("clinician"), house.person("clinician")):
        for name in names[:3]:
            do(reader, name, 4)
    asked: list[str] = []
    event.listen(house.service.database.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    worked: list[int] = []
    pooled = outcomes._pooled
    monkeypatch.setattr(outcomes, "_pooled", lambda *told: worked.append(1) or pooled(*told))

    def questions() -> int:
        asked.clear()
        page = developer.client.get("/readers")
        assert page.status_code == 200 and page.text.count("2 readers finished") == 3
        return sum("reader_tests" in one or "reader_answers" in one for one in asked)

    assert questions() == 3 and len(worked) == 3
    assert questions() == 2 and len(worked) == 3
    do(house.person("clinician"), names[0], 2)
    page = developer.client.get("/readers").text
    assert "3 readers finished" in page and len(worked) == 4
    asked.clear()
    assert len(developer.client.get("/api/v1/readers").json()["items"]) == 4
    assert sum("reader_" in one for one in asked) == 2


def test_an_image_of_a_catch_trial_needs_both_pictures_as_every_trial_does():
    first, second = blinded.pair(drawn("1", "original"), drawn("1", "attacked"), (5, 2))
    plain, _ = blinded.pair(drawn("1", "original"), drawn("1", "attacked"))
    assert first == plain and len(first) == len(second) and first != second
