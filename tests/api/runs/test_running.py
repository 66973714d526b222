# SPDX-License-Identifier: Apache-2.0
"""Plans checked and kept; runs begun, stopped, put first, watched and removed."""

import asyncio
import json
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import OperationalError
from tests.api.conftest import House, Person
from tests.api.seeded import Seeds, seed

from radproof.api.people.access import Caller
from radproof.api.plans.presets import PRESETS, composed
from radproof.api.runs import watching
from radproof.api.runs.watching import MOST, Streams, Watched, watch
from radproof.store.ids import new_id
from radproof.store.tables import DataSet, Event, Job, Membership, Model, Run, Session, User

RUNS, PLANS = "/api/v1/runs", "/api/v1/plans"
FOREIGN = {"name": "foreign", "library": "torchattacks"}


@pytest.fixture
def seeds(house: House) -> Seeds:
    found = seed(house, None)
    for folder, name in (("models", found.model), ("data", found.data)):
        house.service.settings.folder(folder, name).mkdir(parents=True)
    return found


@pytest.fixture
def developer(house: House) -> Person:
    return house.person("developer")


def plan(seeds: Seeds, **changes: object) -> dict:
    data = {"kind": "phantom", "count": 60, "size": 32, "images": 8}
    return {"data": data, "model": {"id": seeds.model}, "attacks": ["pgd"], "budgets": ["1/255"], **changes}


def state(house: House, run: str, state: str) -> None:
    with house.service.database.writing() as session:
        session.execute(update(Job).where(Job.subject_id == run).values(state=state))
        session.execute(update(Run).where(Run.id == run).values(state=state))


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_is_a_plan_that_can_be_run(developer: Person, seeds: Seeds, name: str) -> None:
    for document in (
        composed(name, model=seeds.model),
        composed(name, model=seeds.model, data=seeds.data, labels=["Normal", "Pneumonia"]),
        composed(name, model=seeds.model, labels=["A", "B"], only_answers=True, images=5),
    ):
        found = developer.client.post(PLANS, json={"document": document})
        assert found.status_code == 201, found.text
        assert len(document.get("surrogates", {})) == PRESETS[name].surrogates
    assert "missed-finding" not in document["goals"]


def test_presets_are_told(developer: Person) -> None:
    found = developer.client.get(f"{PLANS}/presets").json()
    assert [one["name"] for one in found] == ["quick-look", "clinical", "transfer", "full"]
    assert found[1]["plan"]["goals"] == ["missed-finding", "false-alarm"]


def test_the_cost_is_told_before_anything_runs(house: House, developer: Person, seeds: Seeds) -> None:
    document = plan(seeds, attacks=[{"name": "pgd", "steps": 7}, "fgsm"], budgets=["1/255", "4/255"], smallest=None)
    cost = developer.client.post(f"{PLANS}/estimate", json={"document": document}).json()
    assert (cost["images"], cost["gradients_per_image"], cost["gradients"]) == (8, 2 * (7 + 1), 8 * 2 * (7 + 1))
    assert (cost["minutes"], cost["seconds_per_gradient"]) == (None, None)
    assert "unknown" in cost["note"]
    with house.service.database.writing() as session:
        session.execute(update(Model).values(facts={"seconds": {"forward": 20.0, "gradient": 60.0}}))
    minutes = developer.client.post(f"{PLANS}/estimate", json={"document": document}).json()["minutes"]
    assert minutes["low"] < 128 < minutes["value"] < minutes["high"]
    with house.service.database.writing() as session:
        session.execute(update(DataSet).values(facts={"images": 90, "folds": {"test": {"images": 11, "patients": 9}}}))
    other = developer.client.post(
        f"{PLANS}/estimate", json={"document": {**document, "data": {"id": seeds.data}}}
    ).json()
    assert (other["images"], other["exact"]) == (11, True)
    document |= {"defenses": ["jpeg"], "detectors": ["drift"], "goals": ["misclassify", "missed-finding"]}
    more = developer.client.post(f"{PLANS}/estimate", json={"document": document}).json()
    assert more["gradients"] > 2 * cost["gradients"]
    assert {line["made_on"] for line in more["lines"]} > {"model", "jpeg (identity)"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"attacks": ["pgdd"]}, "pgd"),
        ({"budgets": ["3"]}, "budgets"),
        ({"budgets": []}, "budgets"),
        ({"atacks": ["pgd"]}, "atacks"),
        ({"model": {"path": "/etc/passwd"}}, "model"),
        ({"model": {"id": "mdl_x", "path": "/etc/passwd"}}, "model"),
        ({"model": "mdl_x"}, "model"),
        ({"model": {"id": 1}}, "model"),
        ({"data": {"kind": "folder", "path": "/etc"}}, "data"),
        ({"data": {"id": "dat_x"}}, "data.id"),
        ({"data": {"id": ["x"]}}, "data.id"),
        ({"data": {"kind": "phantom", "count": 10**9}}, "data.count"),
        ({"data": {"kind": "phantom", "size": 4096}}, "data.size"),
        ({"surrogates": {"a": {"path": "/etc"}}}, "surrogates"),
        ({"attacks": [{"name": "stm", "network": "/etc/passwd"}]}, "attacks"),
        ({"attacks": [{"name": "foreign", "library": "torchattacks"}]}, "attacks"),
        ({"attacks": [" foreign[x]"]}, "other libraries"),
        ({"adaptive": [{"name": "foreign "}]}, "other libraries"),
        ({"detectors": ["drift"], "detection": {"aware": ["foreign"]}}, "detection.aware"),
        ({"detectors": ["drift"], "detection": {"learned": {"attacks": ["pgd", FOREIGN]}}}, "other libraries"),
        ({"hardened": {"h": {"train": {"adversarial": {"attack": "foreign"}}}}}, "other libraries"),
        ({"hardened": {"h": {"train": {"adversarial": {"attack": FOREIGN}}}}}, "other libraries"),
        ({"hardened": {"h": {"like": "model", "denoiser": {"attack": "foreign"}}}}, "other libraries"),
        ({"surrogates": {"s": {"train": {"adversarial": {"attack": FOREIGN}}}}}, "other libraries"),
        ({"corruptions": ["foreign"]}, "other libraries"),
        ({"detectors": ["drift"], "detection": {"aware": ["pgd"] * 17}}, "detection.aware"),
        ({"data": {"kind": "phantom", "count": "1000000"}}, "data.count"),
        ({"data": {"kind": "phantom", "count": 5000.5}}, "data.count"),
        ({"attacks": [{"name": "square", "queries": 1_000_000}]}, "attacks.queries"),
        ({"attacks": [{"name": "square", "params": {"queries": "1_000_000"}}]}, "attacks.params.queries"),
        ({"spending": {"gradients": [10**6]}}, "spending.gradients"),
        ({"surrogates": {"s": {"train": {"epochs": 1000}}}}, "surrogates.s.train.epochs"),
        ({"certify": {"n": 10_000_000}}, "certify.n"),
        ({"attacks": ["pgd"] * 1000}, "attacks"),
        ({"attacks": 5}, "attacks"),
        ({"attacks": [None]}, "attacks"),
        ({"attacks": [[[["pgd"]]]]}, "attacks"),
        ({"gate": ["not worse than /etc/passwd"]}, "gate"),
        ({"gate": 5}, "gate"),
        ({"title": "x" * 100_000}, "plan"),
        ({"seed": 2**80}, "plan"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(developer: Person, seeds: Seeds, changes: dict, field: str) -> None:
    for path in (PLANS, RUNS, f"{PLANS}/estimate"):
        found = developer.client.post(path, json={"document": plan(seeds, **changes)})
        assert found.status_code == 422, found.text
        assert field in found.json()["detail"]
        assert "/home" not in found.text


@pytest.mark.parametrize(
    "body",
    [
        '{"document": ' + '{"a":' * 100_000 + "1" + "}" * 100_001,
        '{"document": {"a": ' + "[" * 500 + "]" * 500 + "}}",
        '{"document": {"a": ' + "[" * 50_000 + "]" * 50_000 + "}}",
        '{"document": {"seed": NaN}}',
        '{"document": {"seed": -Infinity}}',
        '{"document": {"seed": 1e999}}',
        '{"document": {"title": "\\ud800"}}',
        '{"document": {"\\ud800": 1}}',
        '{"document": {"seed": ' + "9" * 5000 + "}}",
        '{"document": {"a": [' + "0," * 100_000 + "0]}}",
        '{"document": []}', "[]", "null", "", "{", '{"document": {}, "other": 1}', "\xff", '{"plan": "pln_\\u0000"}',
    ],
)  # fmt: skip
def test_web_json_depth_nan_and_what_is_no_text_are_refused(developer: Person, body: str) -> None:
    for path in (PLANS, RUNS, f"{PLANS}/estimate"):
        found = developer.client.post(
            path, content=body.encode("latin-1"), headers={"Content-Type": "application/json"}
        )
        assert found.status_code in (400, 404, 413, 422), found.text
        assert found.headers["content-type"] == "application/problem+json"


def test_an_attack_of_another_library_is_meant_by_nothing_but_its_name(developer: Person, seeds: Seeds) -> None:
    found = developer.client.post(PLANS, json={"document": plan(seeds, title="foreign")})
    assert found.status_code == 201, found.text


def test_a_gate_reaches_no_run_of_another_project(house: House, developer: Person, seeds: Seeds) -> None:
    theirs = seed(house, None, house.person("developer", project="other"))
    for named in (f"../runs/{theirs.run}", f"{seeds.run} /../{theirs.run}", f"{seeds.run}/../{theirs.run}", theirs.run):
        for space in (" ", "  ", "\t", "\u00a0"):
            for path in (PLANS, RUNS, f"{PLANS}/estimate"):
                document = plan(seeds, gate=[f"not{space}worse than {named} by 0.02"])
                found = developer.client.post(path, json={"document": document})
                assert found.status_code == 422 and theirs.model not in found.text, found.text
    own = plan(seeds, gate=[f"not  worse than {seeds.run} by 0.02"])
    assert developer.client.post(PLANS, json={"document": own}).status_code == 201


def test_things_of_another_project_are_refused_as_if_there_were_none(house: House, seeds: Seeds) -> None:
    stranger = house.person("developer", project="other")
    theirs = seed(house, None, stranger)
    house.service.settings.folder("models", theirs.model).mkdir(parents=True)
    none = {name: new_id(name) for name in ("mdl", "dat", "pln", "run", "prj")}
    for body, mine in (
        ({"document": plan(seeds)}, {"document": plan(seeds, model={"id": none["mdl"]})}),
        (
            {"document": plan(theirs, data={"id": seeds.data})},
            {"document": plan(theirs, data={"id": none["dat"]})},
        ),
        (
            {"document": plan(theirs, surrogates={"a": {"id": seeds.model}})},
            {"document": plan(theirs, surrogates={"a": {"id": none["mdl"]}})},
        ),
        (
            {"document": plan(theirs, gate=[f"not worse than {seeds.run} by 0.02"])},
            {"document": plan(theirs, gate=[f"not worse than {none['run']} by 0.02"])},
        ),
        ({"plan": seeds.plan}, {"plan": none["pln"]}),
        (
            {"document": plan(theirs), "project": house.person().project},
            {"document": plan(theirs), "project": none["prj"]},
        ),
    ):
        found, nothing = stranger.client.post(RUNS, json=body), stranger.client.post(RUNS, json=mine)
        assert found.status_code in (404, 422)
        assert found.content == nothing.content
    for path in (RUNS, PLANS):
        found = stranger.client.get(f"{path}?project={house.person().project}")
        assert found.content == stranger.client.get(f"{path}?project={none['prj']}").content
        assert found.status_code == 404
    assert stranger.client.get(f"{RUNS}?model={seeds.model}").json() == {"items": [], "next": None}


def test_a_run_is_queued_with_its_plan_job_and_line_in_the_trail(house: House, developer: Person, seeds: Seeds) -> None:
    asked = {"document": plan(seeds, title="Mine"), "priority": 7}
    made = developer.client.post(RUNS, json=asked)
    run = made.json()
    assert (made.status_code, made.headers["location"]) == (201, f"{RUNS}/{run['id']}")
    assert (run["state"], run["priority"], run["name"], run["data"]) == ("queued", 7, "Mine", None)
    assert developer.client.get(f"{PLANS}/{run['plan']}").json()["document"] == asked["document"]
    again = developer.client.post(RUNS, json={"plan": run["plan"], "name": "Again"}).json()
    assert (again["plan"], again["name"]) == (run["plan"], "Again")
    with house.service.database.reading() as session:
        told = session.execute(select(Event.action, Event.object, Event.actor)).all()
        assert ("run.add", run["id"], developer.id) in told
        assert ("plan.add", run["plan"], developer.id) in told
    listed = developer.client.get(f"{RUNS}?state=queued").json()["items"]
    assert [one["id"] for one in listed] == [again["id"], run["id"]]
    assert developer.client.delete(f"{PLANS}/{run['plan']}").status_code == 409


def test_web_race_a_run_submitted_twice_is_one_run(house: House, developer: Person, seeds: Seeds) -> None:
    together = Barrier(3)

    def submit(_: int) -> int:
        together.wait()
        return developer.client.post(RUNS, json={"document": plan(seeds)}, headers={"Idempotency-Key": "k"}).status_code

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(submit, range(3)))
    assert set(found) <= {201, 409}
    assert 201 in found
    with house.service.database.reading() as session:
        assert session.execute(select(func.count()).where(Run.state == "queued")).scalar_one() == 1
    other = developer.client.post(RUNS, json={"document": plan(seeds, seed=2)}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422
    third = house.person("developer").client.post(
        RUNS, json={"document": plan(seeds)}, headers={"Idempotency-Key": "k"}
    )
    assert (third.status_code, "idempotent-replayed" in third.headers) == (201, False)
    for key in ("", "k" * 65, "é".encode(), "a b"):
        assert developer.client.post(RUNS, json={}, headers={"Idempotency-Key": key}).status_code in (400, 422)


def test_a_project_has_only_so_many_unfinished_runs(house: House, developer: Person, seeds: Seeds) -> None:
    object.__setattr__(house.service, "settings", house.service.settings.model_copy(update={"quota_runs": 1}))
    assert developer.client.post(RUNS, json={"document": plan(seeds)}).status_code == 201
    told = developer.client.post(RUNS, json={"document": plan(seeds)})
    assert (told.status_code, "1 unfinished" in told.json()["detail"]) == (409, True)


def test_a_run_is_not_taken_up_again_past_the_quota(house: House, developer: Person, seeds: Seeds) -> None:
    def allow(most: int) -> None:
        object.__setattr__(house.service, "settings", house.service.settings.model_copy(update={"quota_runs": most}))

    first, second = (developer.client.post(RUNS, json={"document": plan(seeds)}).json()["id"] for _ in range(2))
    allow(1)
    state(house, first, "failed")
    told = developer.client.post(f"{RUNS}/{first}/retry")
    assert (told.status_code, "1 unfinished" in told.json()["detail"]) == (409, True)
    assert developer.client.get(f"{RUNS}/{first}").json()["state"] == "failed"
    assert developer.client.post(f"{RUNS}/{second}/pause").status_code == 200
    assert developer.client.post(f"{RUNS}/{second}/resume").status_code == 200  # it was counted as it was paused
    allow(2)
    assert developer.client.post(f"{RUNS}/{first}/retry").status_code == 200
    assert developer.client.post(f"{RUNS}/{second}/pause").status_code == 200
    allow(1)
    assert developer.client.post(f"{RUNS}/{second}/resume").status_code == 409


def test_a_run_is_paused_resumed_cancelled_retried_and_put_first(house: House, developer: Person, seeds: Seeds) -> None:
    run = developer.client.post(RUNS, json={"document": plan(seeds)}).json()["id"]
    at = f"{RUNS}/{run}"
    for verb, expected in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
        found = developer.client.post(f"{at}/{verb}")
        assert (found.status_code, found.json()["state"]) == (200, expected), found.text
        with house.service.database.reading() as session:
            assert session.get(Run, run).state == expected
            assert ("run." + verb, run) in session.execute(select(Event.action, Event.object)).all()
    assert developer.client.post(f"{at}/resume").status_code == 409
    assert developer.client.patch(at, json={"priority": 1}).json()["priority"] == 1
    for wrong in (0, -1, 1001, "x", None, 1.5):
        assert developer.client.patch(at, json={"priority": wrong}).status_code == 422
    tag = developer.client.get(at).headers["etag"]
    assert developer.client.patch(at, json={"priority": 5}, headers={"If-Match": '"old"'}).status_code == 412
    assert developer.client.patch(at, json={"priority": 5}, headers={"If-Match": tag}).json()["priority"] == 5
    assert developer.client.patch(at, json={"priority": 6}, headers={"If-Match": tag}).status_code == 412


def test_only_a_run_that_is_over_is_removed_with_its_folder(house: House, developer: Person, seeds: Seeds) -> None:
    run = developer.client.post(RUNS, json={"document": plan(seeds)}).json()["id"]
    folder = house.service.settings.folder("runs", run)
    (folder / "images").mkdir(parents=True)
    plans = house.service.settings.folder("plans")
    plans.mkdir(exist_ok=True)
    with house.service.database.reading() as session:
        job = session.execute(select(Job.id).where(Job.subject_id == run)).scalar_one()
    for name in (f"{run}.json", f"{job}.threads", "other.threads"):
        (plans / name).touch()
    assert developer.client.delete(f"{RUNS}/{run}").status_code == 409
    assert folder.exists()
    state(house, run, "done")
    assert developer.client.delete(f"{RUNS}/{run}", headers={"If-Match": '"old"'}).status_code == 412
    assert developer.client.delete(f"{RUNS}/{run}").status_code == 204
    assert not folder.exists()
    assert [path.name for path in plans.iterdir()] == ["other.threads"]
    assert developer.client.get(f"{RUNS}/{run}").status_code == 404
    with house.service.database.reading() as session:
        assert session.execute(select(func.count()).where(Job.subject_id == run)).scalar_one() == 0


def test_who_may_only_look_changes_nothing(house: House, seeds: Seeds) -> None:
    for role in ("viewer", "clinician"):
        client = house.person(role).client
        assert client.get(f"{RUNS}/{seeds.run}").status_code == 200
        for method, path in (
            ("POST", RUNS), ("POST", PLANS), ("POST", f"{PLANS}/estimate"), ("DELETE", f"{RUNS}/{seeds.run}"),
            ("PATCH", f"{RUNS}/{seeds.run}"), ("POST", f"{RUNS}/{seeds.run}/cancel"),
            ("DELETE", f"{PLANS}/{seeds.plan}"),
        ):  # fmt: skip
            assert client.request(method, path, json={}).status_code == 403


def test_an_answer_that_is_known_is_not_sent_again(developer: Person, seeds: Seeds) -> None:
    for path in (f"{RUNS}/{seeds.run}", f"{PLANS}/{seeds.plan}"):
        tag = developer.client.get(path).headers["etag"]
        assert developer.client.get(path, headers={"If-None-Match": tag}).status_code == 304


def events(text: str) -> list[dict]:
    found = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in found]


def test_events_of_a_run_that_is_over_end_at_once(developer: Person, seeds: Seeds) -> None:
    found = developer.client.get(f"{RUNS}/{seeds.run}/events", headers={"Last-Event-ID": "x\x7f" * 100})
    assert found.headers["content-type"].startswith("text/event-stream")
    assert found.headers["cache-control"] == "no-store"
    assert [one["state"] for one in events(found.text)] == ["done"]


def test_events_tell_every_change_and_survive_a_busy_database(
    house: House, developer: Person, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(house, seeds.run, "running")
    steps = iter([("attacks", 0.25), None, ("attacks", 0.25), ("attacks", 0.5), "done"])
    look = watching._look

    def busy(database, run: str, who: Caller):
        match next(steps):
            case None:
                raise OperationalError("busy", None, Exception("database is locked"))
            case "done":
                state(house, run, "done")
            case stage, share:
                with database.writing() as session:
                    session.execute(update(Job).values(progress={"stage": stage, "share": share}))
        return look(database, run, who)

    monkeypatch.setattr(watching, "_look", busy)

    async def all_of_them() -> str:
        return "".join(
            [one async for one in watch(house.service.database, seeds.run, caller(developer), every=0, beat=0)]
        )

    text = asyncio.run(all_of_them())
    assert [(one["state"], one["share"]) for one in events(text)] == [
        ("running", 0.25),
        ("running", 0.5),
        ("done", 0.5),
    ]
    assert text.count(": still here") == 2
    assert [line for line in text.splitlines() if line.startswith("id:")] == ["id: 1", "id: 2", "id: 3"]


def caller(person: Person) -> Caller:
    """As a request of theirs with an API key."""
    return Caller(person.id, "x", "developer", (person.project,), person.project)


def test_events_end_where_the_run_is_removed_or_the_time_is_up(house: House, developer: Person, seeds: Seeds) -> None:
    async def all_of_them(run: str, longest: float) -> list[str]:
        return [one async for one in watch(house.service.database, run, caller(developer), every=0, longest=longest)]

    assert asyncio.run(all_of_them(new_id("run"), 100)) == ["retry: 2000\n\n"]
    assert asyncio.run(all_of_them(seeds.run, 0)) == ["retry: 2000\n\n"]


@pytest.mark.parametrize("how", ["membership", "disabled", "signed out"])
def test_events_end_where_the_right_to_see_them_ends(
    house: House, developer: Person, seeds: Seeds, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    state(house, seeds.run, "running")
    who, looks = caller(developer), []
    if how == "signed out":
        with house.service.database.reading() as session:
            who = replace(who, session=session.execute(select(Session.hash)).scalars().first())
    look = watching._look

    def counted(database, run: str, who: Caller):
        looks.append(run)
        if len(looks) == 3:
            with database.writing() as session:
                if how == "membership":
                    session.execute(delete(Membership).where(Membership.user_id == developer.id))
                elif how == "disabled":
                    session.execute(update(User).where(User.id == developer.id).values(disabled=True))
                else:
                    session.execute(delete(Session))
        return look(database, run, who)

    monkeypatch.setattr(watching, "_look", counted)

    async def all_of_them() -> str:
        return "".join([one async for one in watch(house.service.database, seeds.run, who, every=0, longest=20)])

    found = asyncio.run(all_of_them())
    assert len(looks) == 3
    assert [one["state"] for one in events(found)] == ["running"]


def test_a_stream_that_is_never_sent_is_never_counted() -> None:
    streams = Streams()

    async def nothing() -> AsyncGenerator[str]:
        yield ""

    for _ in range(MOST + 1):
        Watched(streams, "usr_x", nothing())
    assert not streams._open


def test_nobody_opens_more_than_eight_streams(house: House, developer: Person, seeds: Seeds) -> None:
    streams = house.service.streams
    for _ in range(MOST):
        streams.take(developer.id)
    found = developer.client.get(f"{RUNS}/{seeds.run}/events")
    assert (found.status_code, found.headers["retry-after"]) == (429, "5")
    assert house.person("viewer").client.get(f"{RUNS}/{seeds.run}/events").status_code == 200
    streams.leave(developer.id)
    for _ in range(3):  # each gives back what it took
        assert developer.client.get(f"{RUNS}/{seeds.run}/events").status_code == 200
