# SPDX-License-Identifier: Apache-2.0
"""In the middle of a reader test nothing tells its answers: twins of its run, screening, others' outcomes."""

from contextlib import contextmanager

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from tests.api.conftest import House, Person
from tests.api.lodging import ask, left, lodging_fixture  # noqa: F401
from tests.api.readers.test_asking import TRIALS, do, run, test_id  # noqa: F401
from tests.api.readers.test_closing import TOLD, begun

from radproof.api.readers.taking import UNSCREENED
from radproof.store.ids import new_id
from radproof.store.tables import DataSet, Event, Membership, Model, ReaderTest, Run, SavedPlan


def copied(house: House, name: str, **told) -> str:
    """Another run of the same plan."""
    with house.service.database.writing() as session:
        own = session.get(Run, name)
        more = {"project_id": own.project_id, "plan_id": own.plan_id, "model_id": own.model_id, "state": "done"}
        session.add(made := Run(id=new_id("run"), name="again", **{**more, **told}))
    return made.id


def test_blinding_another_run_on_drawn_images_is_closed_too(house, run, test_id):  # noqa: F811
    with house.service.database.writing() as session:
        session.add(data := DataSet(id=new_id("dat"), project_id=run[0].project, name="d", state="ready"))
    again, real = copied(house, run[1]), copied(house, run[1], data_id=data.id)
    who = house.person("clinician")
    begun(who, test_id)
    assert who.client.get(f"/runs/{again}/images").status_code == 403
    assert TOLD not in who.client.get(f"/runs/{real}/images").text


def test_blinding_the_same_archive_uploaded_twice_is_the_same_data(house, run, test_id):  # noqa: F811
    own = {"project_id": run[0].project, "name": "d", "state": "ready"}
    prints = ["f" * 64, "f" * 64, "e" * 64, None, ""]
    with house.service.database.writing() as session:
        data = [DataSet(id=new_id("dat"), facts={"fingerprint": one} if one else {}, **own) for one in prints]
        session.add_all(data)
        session.flush()
        session.get(Run, run[1]).data_id = data[0].id
    runs = [copied(house, run[1], data_id=one.id) for one in data]
    who = house.person("clinician")
    begun(who, test_id)
    closed = [TOLD in who.client.get(f"/runs/{one}/images").text for one in runs]
    assert closed == [True, True, False, False, False]


@pytest.fixture
def reading(house: House, lodging) -> tuple[Person, str, str]:
    """A clinician of both projects with a ready model, in the middle of a test; and the test."""
    who, add = lodging
    other = house.person("clinician", "other").project
    model = add(["answer"])
    with house.service.database.writing() as session:
        session.add(plan := SavedPlan(id=new_id("pln"), project_id=who.project, name="p", digest="0" * 64))
        session.flush()
        told = {"project_id": who.project, "plan_id": plan.id, "model_id": model, "state": "done"}
        session.add(made := Run(id=new_id("run"), name="r", **told))
        session.flush()
        trials = [{"image": "0-0", "sample": "0", "catch": False}] * 2
        test = ReaderTest(
            id=new_id("rdr"), name="A test", trials=trials, seed=1, run_id=made.id, project_id=who.project
        )
        session.add_all([test, Membership(user_id=who.id, project_id=other)])
    return who, model, begun(who, test.id)


def test_blinding_no_image_is_screened_in_the_middle_of_a_test_of_the_project(house, reading):
    who, model, test = reading
    ways = (f"/readers/{test}", f"/readers/{test}/give-up")
    found = ask(who, model)
    assert found.status_code == 403 and found.json()["detail"] == UNSCREENED
    assert all(f"<{one}>" in found.headers["link"] for one in ways)
    form = {"data": {"model": model}, "files": {"image": ("a.png", b"x")}}
    pages = [who.client.get("/screen"), who.client.post("/screen", **form)]
    pages.append(who.client.post("/screen", headers={"X-Fragment": "answer"}, **form))
    for page in pages:
        assert page.status_code == 403 and UNSCREENED[1:40] in page.text
        assert all(f'href="{one}"' in page.text for one in ways)
    assert "Try it again" not in pages[2].text and left(house) == []
    with house.service.database.reading() as session:
        assert session.execute(select(Event.number).where(Event.action == "image.screen")).first() is None
    who.client.post(f"/readers/{test}/give-up")
    assert ask(who, model).status_code == 200 and who.client.get("/screen").status_code == 200


def test_blinding_models_of_other_projects_and_other_people_screen_all_the_while(house, lodging, reading):
    who, model, _ = reading
    free = lodging[1](["answer"], project=house.person("clinician", "other").project)
    with house.service.database.writing() as session:
        session.get(Model, free).name = "Free"
    assert ask(who, free).status_code == 200 and ask(who, model).status_code == 403
    page = who.client.get("/screen")
    assert page.status_code == 200 and model not in page.text and "Free" in page.text
    assert ask(house.person("clinician"), model).status_code == 200


def test_blinding_a_developer_in_the_middle_learns_nothing_of_others(house, run, test_id):  # noqa: F811
    other, who = house.person("clinician"), house.person("developer")
    do(other, test_id, TRIALS)
    api, count = f"/api/v1/readers/{test_id}", "1 reader finished"
    assert who.client.get(f"{api}/outcome").status_code == 200 and who.client.get(api).json()["attack"] == "pgd"
    assert count in who.client.get("/readers").text
    begun(who, test_id)
    found = who.client.get(f"{api}/outcome")
    assert found.status_code == 403 and f"</readers/{test_id}/give-up>" in found.headers["link"]
    assert who.client.get(f"/readers/{test_id}?outcome=1").status_code == 403
    told = who.client.get(api).json()
    assert told["attack"] is told["run"] is told["budget"] is told["catch_trials"] is None
    assert count not in who.client.get("/readers").text
    do(who, test_id, TRIALS)
    assert len(who.client.get(f"{api}/outcome").json()["readers"]) == 2


def test_blinding_a_look_that_cannot_be_noted_is_none(house, run, monkeypatch):  # noqa: F811
    who, address = house.person("clinician"), f"/runs/{run[1]}/report"
    database, writing = house.service.database, house.service.database.writing

    @contextmanager
    def busy():
        raise OperationalError("insert", {}, Exception("database is locked"))
        yield

    monkeypatch.setattr(database, "writing", busy)
    found = who.client.get(address)
    assert found.status_code == 503 and found.headers["retry-after"] == "5" and "noted" in found.text
    assert who.client.get(f"/runs/{run[1]}").status_code != 503, "figures are not noted"
    monkeypatch.setattr(database, "writing", writing)
    assert who.client.get(address).status_code != 503
    monkeypatch.setattr(database, "writing", busy)
    assert who.client.get(address).status_code != 503, "it is noted already"
