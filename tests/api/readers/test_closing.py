# SPDX-License-Identifier: Apache-2.0
"""Who is in the middle of a reader test finds its run closed, wherever they try; who had opened it before is told."""

import pytest
from sqlalchemy import select, update
from tests.api.conftest import House, Person
from tests.api.readers.test_asking import TRIALS, altered, do, image, made, run, test_id  # noqa: F401
from tests.api.seeded import Seeds, seed
from tests.api.test_crossing import CHANGING, Door, doors

from radproof.api.readers.closing import OPEN, PLAIN
from radproof.api.readers.taking import GONE, MIDDLE
from radproof.store.ids import new_id
from radproof.store.tables import DataSet, Event, ReaderTest, Run

TOLD = MIDDLE[1:40]  # without its first letter, which a page makes large


@pytest.fixture
def seeds(house: House, monkeypatch: pytest.MonkeyPatch) -> Seeds:
    """A finished run, and a test made from it."""
    house.service.limits._rates.update(read=10**6, write=10**6)
    found = seed(house, None)
    with house.service.database.writing() as session:
        trials = [{"image": f"{n}", "sample": f"{n}", "catch": False} for n in range(2)]
        session.execute(update(ReaderTest).where(ReaderTest.id == found.reader).values(trials=trials))
    return found


def begun(who: Person, test: str) -> str:
    found = who.client.get(f"/readers/{test}?begin=1")
    assert found.status_code == 200 and "Trial 1 of" in found.text
    return test


def named(person: Person, seeds: Seeds) -> list[tuple[Door, str]]:
    """Every route whose address can hold the run's name."""
    names = {**seeds.names, "prj": person.project, "usr": person.id}
    told = [(door, door.address(names, {"image": "0-0", "image_id": "0-0"})) for door in doors(person.client.app)]
    return [(door, address) for door, address in told if f"/{seeds.run}" in address]


def asked(person: Person, door: Door, address: str):
    body = {"json": {}} if door.method in CHANGING and door.path.startswith("/api/") else {}
    return person.client.request(door.method, address, follow_redirects=False, **body)


def test_blinding_no_route_that_holds_the_runs_name_is_open_in_the_middle_of_a_test(house: House, seeds: Seeds) -> None:
    who = house.person("developer")
    begun(who, seeds.reader)
    every = named(who, seeds)
    paths = {door.path.replace("{run_id}", "{id}") for door, _ in every}
    assert len(every) > 20 and {*OPEN, *PLAIN} <= paths
    assert {"/runs/{id}/images", "/runs/{id}/report", "/api/v1/runs/{id}/images/{image}/{kind}.png"} <= paths
    for door, address in every:
        found = asked(who, door, address)
        closed = found.status_code == 403 and TOLD in found.text
        assert closed != (door.method == "GET" and door.path in OPEN), (door, found.status_code)
    for query in (f"/compare?a={seeds.run}", f"/readers/new?run={seeds.run}"):
        assert TOLD in who.client.get(query).text

    who.client.post(f"/readers/{seeds.reader}/give-up")
    for door, address in every:
        if door.method == "GET":
            assert TOLD not in asked(who, door, address).text, door


def test_blinding_the_run_is_open_before_the_test_and_to_others_and_a_stranger_learns_nothing(
    house: House, seeds: Seeds
) -> None:
    who, other, stranger = house.person("clinician"), house.person("clinician"), house.person("admin", "other")
    address = f"/runs/{seeds.run}/report"
    assert TOLD not in who.client.get(address).text
    assert who.client.get(f"/readers/{seeds.reader}").status_code == 200  # the instructions begin nothing
    assert TOLD not in who.client.get(address).text
    begun(who, seeds.reader)
    assert who.client.get(address).status_code == 403
    assert TOLD not in other.client.get(address).text
    assert stranger.client.get(address).status_code == 404
    with house.service.database.writing() as session:
        session.execute(update(Run).where(Run.id == seeds.run).values(state="running"))
    assert TOLD not in who.client.get(address).text, "a run that is not done shows nothing"


def test_blinding_the_first_image_by_the_api_begins_the_test_too(house, run, test_id):  # noqa: F811
    who = house.person("clinician")
    assert not who.client.get(f"/api/v1/readers/{test_id}").json()["begun"]
    assert image(who, test_id, 1, "left").status_code == 200
    assert who.client.get(f"/api/v1/readers/{test_id}").json()["begun"]
    found = who.client.get(f"/api/v1/runs/{run[1]}/report.json")
    assert found.status_code == 403 and found.headers["content-type"] == "application/problem+json"
    assert found.json()["detail"] == MIDDLE and f"</readers/{test_id}/give-up>" in found.headers["link"]
    page = who.client.get(f"/runs/{run[1]}/images").text
    assert f'href="/readers/{test_id}"' in page and f'href="/readers/{test_id}/give-up"' in page
    assert "run_" not in page
    do(who, test_id, 3)
    assert TOLD not in who.client.get(f"/runs/{run[1]}/images").text


def test_blinding_runs_on_the_same_data_set_show_the_same_originals_and_are_closed_too(house, run, test_id):  # noqa: F811
    developer, name = run
    with house.service.database.writing() as session:
        own = session.get(Run, name)
        data = [new_id("dat") for _ in range(2)]
        session.add_all(DataSet(id=one, project_id=developer.project, name="d", state="ready") for one in data)
        session.flush()
        own.data_id = data[0]
        more = {"project_id": developer.project, "plan_id": own.plan_id, "model_id": own.model_id, "state": "done"}
        same, another = (Run(id=new_id("run"), name="r", data_id=one, **more) for one in data)
        session.add_all([same, another])
    who = house.person("clinician")
    begun(who, test_id)
    assert who.client.get(f"/runs/{same.id}/images").status_code == 403
    assert TOLD not in who.client.get(f"/runs/{another.id}/images").text
    third = made((developer, same.id)).json()["id"]
    found = who.client.get(f"/readers/{third}?begin=1")
    assert found.status_code == 409 and "so is this test" in found.text and f'href="/readers/{test_id}"' in found.text
    assert image(who, third, 1, "left").status_code == 409
    do(who, test_id, 6)
    begun(who, third)
    do(who, third, 6)
    told = who.client.get(f"/api/v1/readers/{third}/outcome").json()
    assert told["readers"][0]["opened_before"] == "yes", "the other test showed these images"


def test_giving_up_is_asked_for_final_and_leaves_no_answer_that_counts(house, run, test_id):  # noqa: F811
    who, other = house.person("clinician"), house.person("clinician")
    url, api = f"/readers/{test_id}/give-up", f"/api/v1/readers/{test_id}"
    assert who.client.post(f"{api}/give-up").status_code == 409
    assert who.client.get(url, follow_redirects=False).status_code == 303, "nothing to give up"
    for number in range(1, TRIALS):
        said = {"answer": altered(who, test_id, number), "seconds": 1}
        who.client.post(f"{api}/trials/{number}", json=said)
    page = who.client.get(url).text
    assert "Giving up is final" in page and f"{TRIALS - 1} of {TRIALS}" in page and 'method="post"' in page
    assert who.client.post(url, follow_redirects=False).headers["location"] == f"/readers/{test_id}"
    assert who.client.post(f"{api}/give-up").json() == {
        "trials": TRIALS,
        "answered": TRIALS - 1,
        "finished": False,
        "given_up": True,
    }
    last = who.client.post(f"{api}/trials/{TRIALS}", json={"answer": "left", "seconds": 1})
    assert last.status_code == 409 and last.json()["detail"] == GONE
    assert image(who, test_id, 1, "left").status_code == 409
    page = who.client.get(f"/readers/{test_id}?begin=1").text
    assert "You gave this test up" in page and "Your result" not in page
    assert "Given up" in who.client.get("/readers").text or "given up" in who.client.get("/readers").text
    do(other, test_id, TRIALS)
    assert other.client.post(f"{api}/give-up").status_code == 409, "a finished test stays"
    found = run[0].client.get(f"{api}/outcome").json()
    assert len(found["readers"]) == 1 and found["pooled"]["answers"] == TRIALS
    assert "1 reader finished" in run[0].client.get("/readers").text


def test_blinding_who_had_opened_the_run_before_is_told_apart_and_not_counted(house, run, test_id):  # noqa: F811
    knowing, blind = house.person("clinician"), house.person("clinician")
    for _ in range(2):
        knowing.client.get(f"/runs/{run[1]}/images")
    for address in PLAIN:
        blind.client.get(address.replace("{id}", run[1]))
    for who in (knowing, blind):
        do(who, test_id, TRIALS)
    with house.service.database.reading() as session:
        views = session.execute(select(Event.actor).where(Event.action == "run.view", Event.object == run[1]))
        assert views.scalars().all() == [knowing.id], "once, and not for figures"
    url = f"/api/v1/readers/{test_id}/outcome"
    found = knowing.client.get(url).json()
    assert [(one["opened_before"], one["pooled"]) for one in found["readers"]] == [("yes", False), ("no", True)]
    assert found["pooled"]["answers"] == TRIALS
    assert knowing.client.get(f"{url}?opened=true").json()["pooled"]["answers"] == 2 * TRIALS
    assert found["blinding"].startswith("1 of 2 readers had opened") and "cannot be established" in found["blinding"]
    page = knowing.client.get(f"/readers/{test_id}").text
    assert "You had opened images of this run" in page and "Opened the run before" in page
    assert "cannot be established" in page and "nothing tells readers who look" in page
    assert "You had opened images" not in blind.client.get(f"/readers/{test_id}").text
    assert "1 reader finished" not in page


def test_readers_who_answered_before_beginnings_were_told_are_begun_and_not_known(house, run, test_id):  # noqa: F811
    from radproof.store.tables import ReaderAnswer

    who = house.person("clinician")
    with house.service.database.writing() as session:
        for trial in range(TRIALS):
            session.add(
                ReaderAnswer(test_id=test_id, user_id=who.id, trial=trial, answer="left", correct=True, seconds=1)
            )
    found = who.client.get(f"/api/v1/readers/{test_id}/outcome").json()
    assert found["readers"][0]["opened_before"] == "not known" and found["readers"][0]["pooled"]
    assert "of 1 it is not known" in found["blinding"]
