# SPDX-License-Identifier: Apache-2.0
"""Kept models: queues, time limits, processes that end or talk nonsense, and what a killed server leaves."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.api.lodging import ask, left, lodging_fixture, screeners  # noqa: F401
from tests.api.seeded import until
from tests.core import lodgers

from radproof.api.screening import held
from radproof.api.screening.answers import Nonsense, Opened, Said, parsed
from radproof.api.screening.held import Patience
from radproof.api.screening.spool import Spool
from radproof.store.ids import new_id
from radproof.store.tables import GuardFile


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


def test_one_too_many_is_told_to_come_back(house, lodging):
    who, add = lodging
    object.__setattr__(house.service, "settings", house.service.settings.model_copy(update={"screening_queue": 1}))
    made = screeners(house)
    model = add(["wait"])
    guard = next(house.service.settings.folder("guards").glob("*.safetensors"))
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(ask, who, model) for _ in range(2)]
        until(lambda: made._pool.kept.get(model) and made._pool.kept[model].waiting == 2)
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
    assert list(made._pool.kept) == [a, c]
    kept = made._pool.kept[a]
    made.close_model(a)
    assert not kept.alive and list(made._pool.kept) == [c]


def test_a_newer_detector_takes_the_place_of_the_older(house, lodging):
    who, add = lodging
    model = add(["answer"])
    first, guard = ask(who, model).json()["guard"], new_id("grd")
    (house.service.settings.folder("guards") / f"{guard}.safetensors").touch()
    with house.service.database.writing() as session:
        session.add(GuardFile(id=guard, model_id=model, state="ready", project_id=who.project))
    assert ask(who, model).json()["guard"] == guard != first


@pytest.mark.parametrize("what", ["model", "guard"])
def test_the_end_of_a_model_or_of_its_guard_is_that_of_its_process(house, lodging, what):
    who, add = lodging
    model = add(["answer"])
    guard = ask(who, model).json()["guard"]
    held = house.service.screeners._pool.kept[model]
    path = f"/api/v1/models/{model}" + (f"/guards/{guard}" if what == "guard" else "")
    assert house.person("developer").client.delete(path).status_code == 204
    assert not held.alive and model not in house.service.screeners._pool.kept


def test_the_servers_end_is_that_of_its_processes(house, lodging):
    who, add = lodging
    model = add(["answer"])
    ask(who, model)
    kept = house.service.screeners._pool.kept[model]
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


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_rooms_that_were_left_keep_no_descriptor_and_no_folder(tmp_path):
    spool = Spool(tmp_path / "s")
    inbox, before = spool.inbox(), descriptors()
    for _ in range(30):
        room = spool.room()
        (room / "image").write_bytes(b"pixels")
        spool.leave(room)
        spool.leave(room)
    assert descriptors() == before
    assert list((tmp_path / "s").iterdir()) == [inbox]
    spool.close()
    assert descriptors() == before - 1


def test_a_model_that_was_closed_keeps_no_descriptor(house, lodging):
    who, add = lodging
    models = [add(["answer"]) for _ in range(3)]
    ask(who, models[0])
    house.service.screeners.close_model(models[0])
    before = descriptors()
    for model in models[1:]:
        assert ask(who, model).status_code == 200
        house.service.screeners.close_model(model)
    until(lambda: descriptors() <= before)


@pytest.mark.parametrize(("told", "gigabytes"), [("1.5", 1.5), ("40", 40)])
def test_a_models_process_holds_as_much_memory_as_the_environment_says(house, lodging, monkeypatch, told, gigabytes):
    found = []

    class Made(held.Resident):
        def __init__(self, *given, limits, **how):
            found.append(limits.memory)
            super().__init__(*given, limits=limits, **how)

    monkeypatch.setattr(held, "Resident", Made)
    monkeypatch.setenv("RADPROOF_GUARD_MEMORY", told)
    who, add = lodging
    assert ask(who, add(["answer"])).status_code == 200
    assert found == [int(gigabytes * 2**30)]


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
