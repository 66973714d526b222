# SPDX-License-Identifier: Apache-2.0
"""Reader tests, keys and administration by the client, against the real application."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import update
from tests.api.readers.test_asking import Rows, drawn
from tests.api.seeded import seed
from tests.client.conftest import Bridge, House

from radproof.api.readers import asking, blinded
from radproof.api.results.pictures import Shown
from radproof.cli import remote
from radproof.client import Client, NotFound, Refused
from radproof.errors import BadInput
from radproof.store.tables import ReaderTest


@pytest.fixture
def made(house: House, monkeypatch: pytest.MonkeyPatch):
    """made("developer"): a client with a key of theirs, and their transport; one finished run is there."""
    monkeypatch.setattr(asking, "run_images", lambda settings, run: Rows())
    monkeypatch.setattr(blinded, "picture", lambda settings, run, name, kind, **more: Shown(drawn(name, kind)))

    def client(role: str) -> tuple[Client, Bridge, str]:
        person = house.person(role)
        key = person.client.post("/api/v1/account/keys", json={"name": "program"}).json()["key"]
        bridge = Bridge(person.client.app)
        return Client("http://localhost", key, sleep=lambda _: None, transport=bridge), bridge, person.id

    return client


def test_a_reader_test_is_made_taken_and_told(house: House, made, tmp_path: Path) -> None:
    run = seed(house, None).run
    (developer, bridge, _), (reader, others, _) = made("developer"), made("clinician")
    bridge.lose.add(("POST", "/api/v1/readers"))
    test = developer.make_reader_test(run, "pgd", "4/255", trials=2, name="A test", seed=5)
    assert (test.trials, test.attack, test.begun) == (2, "pgd", False)
    found = {one.id: one for one in reader.reader_tests()}
    assert len(found) == 2 and found[test.id].attack is None, "one was made, and tells nothing"
    assert reader.trial(test.id, 1, "left", tmp_path / "left.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match="no 'middle'"):
        reader.trial(test.id, 1, "middle", tmp_path / "m.png")  # type: ignore[arg-type]
    with pytest.raises(Refused, match="in the middle of a reader test") as caught:
        reader.result(run)
    assert caught.value.status == 403
    with pytest.raises(Refused, match="told after the last trial"):
        reader.outcome(test.id)
    others.lose.add(("POST", f"/api/v1/readers/{test.id}/trials/1"))
    assert reader.answer(test.id, 1, "left", 2.5).answered == 1, "an answer that was lost is kept once"
    with pytest.raises(Refused, match="once"):
        reader.answer(test.id, 1, "right", 1.0)
    assert reader.answer(test.id, 2, "right", 2.0).finished
    told = reader.outcome(test.id)
    assert told.own is not None and told.own.answers == 2 and "established" in told.pooled.sentence
    assert "cannot be established" in told.blinding and reader.reader_test(test.id).finished
    assert developer.outcome(test.id, maker=True, opened=True).pooled.answers == 2
    developer.remove_reader_test(test.id)
    with pytest.raises(NotFound):
        reader.reader_test(test.id)


def test_giving_up_is_for_good_lost_or_not(house: House, made, tmp_path: Path) -> None:
    seeds = seed(house, None)
    with house.service.database.writing() as session:
        trials = [{"image": "1-oblivious", "sample": "1", "catch": False}]
        session.execute(update(ReaderTest).where(ReaderTest.id == seeds.reader).values(trials=trials))
    reader, bridge, _ = made("clinician")
    reader.trial(seeds.reader, 1, "right", tmp_path / "a.png")
    bridge.lose.add(("POST", f"/api/v1/readers/{seeds.reader}/give-up"))
    assert reader.give_up(seeds.reader).given_up
    with pytest.raises(Refused, match="final"):
        reader.answer(seeds.reader, 1, "left", 1.0)


def test_keys_and_browsers_are_listed_and_ended(house: House, made) -> None:
    client, _, user = made("viewer")
    assert client.account()["id"] == user
    (own,) = client.keys()
    assert own.name == "program" and len(client.browsers()) == 1
    client.sign_out(client.browsers()[0].id)
    assert client.browsers() == []
    client.sign_out()
    for ask in (client.people, client.invitations, client.projects, client.trail):
        with pytest.raises(Refused, match="role admin"):
            list(ask())
    client.revoke_key(own.id)
    with pytest.raises(Refused):
        client.keys()


def test_an_administrator_reads_people_projects_trail_and_settings(house: House, made) -> None:
    client, _, user = made("admin")
    assert client.person(user).role == "admin" and user in {one.id for one in client.people()}
    assert {one.name for one in client.projects()} >= {"ours", "other"} and list(client.invitations()) == []
    assert client.check_trail().whole and next(client.trail()).action == "key.make"
    assert client.settings()["database"] in ("set", "not set")


def test_imports_that_did_not_fail_are_not_tried_again(house: House, made) -> None:
    seeds = seed(house, None)
    client, _, _ = made("developer")
    for again in (
        lambda: client.retry_model(seeds.model, architecture="resnet18", card={"labels": ["A"]}),
        lambda: client.retry_data(seeds.data, classes="A,B", multi_label=False, strict=True),
    ):
        with pytest.raises(Refused) as caught:
            again()
        assert caught.value.status == 409


def test_keys_are_listed_and_revoked_from_a_terminal(
    house: House, made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, _, _ = made("developer")
    monkeypatch.setattr(remote, "connected", lambda server, allow_http=False: nullcontext(client))
    remote.keys(as_json=True)
    (own,) = json.loads(capsys.readouterr().out)
    assert own["name"] == "program" and own["used"] and "key" not in own
    remote.revoke(own["id"])
    assert "is revoked" in capsys.readouterr().out
    with pytest.raises(Refused):
        client.keys()
