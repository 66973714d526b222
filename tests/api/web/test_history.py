# SPDX-License-Identifier: Apache-2.0
"""A run's page: its report, its plan, what happened to it, where it waits, again and away."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.api.conftest import House
from tests.api.seeded import Seeds, finished_run, seed
from tests.api.web.conftest import Full
from tests.api.web.test_pages import Read

from radproof.api.results.comparing import Compared, Line
from radproof.api.results.showing import Showing
from radproof.api.runs.history import waiting
from radproof.core.records import Doubt
from radproof.reports.reading import Reading
from radproof.reports.words import Shown
from radproof.store.ids import new_id
from radproof.store.tables import DataSet, Job, Model, Run, SavedPlan, Worker, now


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def seeds(house: House, folder: Path) -> Seeds:
    return seed(house, folder)


def test_every_link_of_a_result_leads_somewhere(house: House, seeds: Seeds) -> None:
    person = house.person("developer")
    start = f"/runs/{seeds.run}"
    waiting, seen, images = [start, f"/compare?a={seeds.run}"], set[str](), 0
    while waiting:
        address = waiting.pop(0).split("#")[0]
        if address in seen or address.startswith(("/api/", "data:", "/readers/rdr_")):
            continue
        seen.add(address)
        images += "/images" in address
        if "/images" in address and images > 12:  # they go on for all filters of all images
            continue
        found = person.client.get(address)
        assert found.status_code < 400, f"{address} answers {found.status_code}"
        if found.headers["content-type"].startswith("text/html"):
            waiting += Read(found.text).links()
    assert {start, f"{start}/report", f"{start}/images", f"/assess?plan={seeds.plan}"} <= seen
    assert any(re.fullmatch(rf"{start}/images/[0-9a-f-]+\?.*", one) for one in seen)


def test_full_report_is_the_resources_in_its_sandbox(house: House, seeds: Seeds) -> None:
    person = house.person("viewer")
    found, same = (
        person.client.get(f"{at}/runs/{seeds.run}/report{end}") for at, end in (("", ""), ("/api/v1", ".html"))
    )
    assert found.status_code == 200 and found.content == same.content
    assert found.headers["content-security-policy"] == same.headers["content-security-policy"]
    assert found.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert house.person("admin", project="other").client.get(f"/runs/{seeds.run}/report").status_code == 404


def test_result_tells_plan_and_what_happened_to_run_and_job(house: House, seeds: Seeds) -> None:
    person = house.person("developer")
    with house.service.database.writing() as session:
        session.add(Worker(name="w-1"))
        own = {"actor": "w-1", "object": seeds.job, "project": person.project}
        house.service.trail.add(session, "job.done", kind="assess", subject=seeds.run, code=0, **own)
        other = {**own, "object": new_id("job")}
        house.service.trail.add(session, "job.failed", kind="assess", subject="run_x", code=1, **other)
    page = person.client.get(f"/runs/{seeds.run}").text
    about = page[page.index('id="about"') :]
    assert "Done, a worker" in about and "Failed" not in about and "w-1" not in about
    assert "budgets:" in about and f"id: {seeds.model}" in about
    assert f'action="/runs/{seeds.run}/remove"' in about and "data-confirm" in about
    viewer = house.person("viewer").client.get(f"/runs/{seeds.run}").text
    assert "/remove" not in viewer and "/again" not in viewer and 'id="about"' in viewer


def test_done_run_is_removed_from_its_page(house: House, seeds: Seeds) -> None:
    person = house.person("developer")
    answer = person.client.post(f"/runs/{seeds.run}/remove", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?said=removed")
    assert person.client.get(f"/runs/{seeds.run}").status_code == 404


def test_run_whose_files_are_damaged_can_still_be_removed(house: House, seeds: Seeds) -> None:
    path = house.service.settings.folder("runs", seeds.run) / "result.json"
    path.unlink()
    path.write_text("{}")
    found = house.person("developer").client.get(f"/runs/{seeds.run}")
    assert found.status_code == 409 and "cannot be read" in found.text
    assert f'action="/runs/{seeds.run}/remove"' in found.text


def test_same_plan_runs_again(house: House, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict = {}

    def start(service, who, **told):
        asked.update(told)
        return replace_run

    replace_run = Run(id=new_id("run"))
    monkeypatch.setattr("radproof.api.runs.running.start_run", start)
    answer = house.person("developer").client.post(f"/runs/{seeds.run}/again", follow_redirects=False)
    assert answer.headers["location"] == f"/runs/{replace_run.id}?said=started"
    assert asked == {"plan": seeds.plan, "name": "A run"}
    stranger = house.person("admin", project="other").client
    assert stranger.post(f"/runs/{seeds.run}/again").status_code == 404
    assert house.person("viewer").client.post(f"/runs/{seeds.run}/again").status_code == 403


def test_form_is_filled_in_by_an_earlier_plan(house: House, full: Full) -> None:
    person = house.person("developer")
    plan = new_id("pln")
    document = {
        "name": "quick-look", "title": "Earlier", "seed": 41, "data": {"id": full.data, "images": 17},
        "model": {"id": full.model}, "attacks": [{"name": "pgd", "steps": 3}], "budgets": ["3/255"], "defenses": [],
    }  # fmt: skip
    with house.service.database.writing() as session:
        session.add(SavedPlan(id=plan, name="x", document=document, digest="0" * 64, project_id=person.project))
    page = person.client.get(f"/assess?plan={plan}").text
    for value in ("Earlier", "41", "17", "3/255", "3"):
        assert f'value="{value}"' in page
    assert f'<option value="{full.model}" selected' in page and f'<option value="{full.data}" selected' in page
    assert house.person("admin", project="other").client.get(f"/assess?plan={plan}").status_code == 404


def queued(house: House, full: Full, priority: int) -> str:
    with house.service.database.writing() as session:
        first = session.get(Run, full.done)
        assert first is not None
        run = Run(id=new_id("run"), name="q", plan_id=first.plan_id, model_id=full.model, state="queued",
                  project_id=first.project_id)  # fmt: skip
        session.add(run)
        session.flush()
        job = Job(id=new_id("job"), kind="assess", subject_id=run.id, priority=priority, project_id=first.project_id)
        session.add(job)
        return run.id


def test_live_page_tells_the_place_in_the_queue_and_whether_anybody_works(house: House, full: Full) -> None:
    person = house.person("viewer")
    last, first, second = (queued(house, full, priority) for priority in (200, 100, 100))
    for run, place in ((first, 1), (second, 2), (last, 3)):
        page = person.client.get(f"/runs/{run}").text
        assert f"Place in the queue: <strong>{place}</strong>" in page
        assert "No worker is alive" in page
    with house.service.database.writing() as session:
        session.add(Worker(name="w-1", seen=now() - timedelta(hours=1)))
    assert "No worker is alive" in person.client.get(f"/runs/{full.running}").text
    with house.service.database.writing() as session:
        session.add(Worker(name="w-2"))
    for run in (first, full.running):
        assert "No worker is alive" not in person.client.get(f"/runs/{run}").text
    with house.service.database.reading() as session:
        assert waiting(session, None).place == 0
    assert "Place in the queue" not in person.client.get(f"/runs/{full.running}").text


def test_paused_run_shows_nothing_left(house: House, full: Full) -> None:
    person = house.person("viewer")
    assert "about 2 min left (80 s to 4 min)" in person.client.get(f"/runs/{full.running}").text
    assert "min left" not in person.client.get(f"/runs/{full.paused}").text


def test_phantoms_are_named_where_runs_of_them_are_listed(house: House, full: Full) -> None:
    with house.service.database.writing() as session:
        images = session.get(DataSet, full.data)
        assert images is not None
        images.facts = {**images.facts, "phantom": True}
    person = house.person("viewer")
    for address in ("/runs", "/models", "/", f"/models/{full.model}", f"/data/{full.data}", f"/runs/{full.running}"):
        assert ">phantom</span>" in person.client.get(address).text, address
    rows = person.client.get("/runs?state=running").text
    assert ">phantom</span>" in rows[rows.index('id="rows"') :]


def test_card_alone_says_when_it_is_over(house: House, full: Full) -> None:
    person = house.person("developer")
    for address, kind, name in (
        (f"/models/{full.importing}", Model, full.importing),
        (f"/data/{full.data}", DataSet, full.data),
    ):
        with house.service.database.writing() as session:
            session.get(kind, name).state = "importing"
        card = next(a for _, a in Read(person.client.get(address).text).tags if a.get("id") == "progress")
        assert card["hx-get"] == address and card["hx-select"] == "#progress" and "#state" in card["hx-select-oob"]
        with house.service.database.writing() as session:
            session.get(kind, name).state = "ready"
        for headers, over in (({"HX-Request": "true"}, True), ({}, False)):
            text = person.client.get(address, headers=headers).text
            card = next(a for _, a in Read(text).tags if a.get("id") == "progress")
            assert ("data-over" in card, "hidden" in card, "hx-get" in card) == (over, not over, False)
            assert ("It is over." in text) == over


def compared(house: House, seeds: Seeds, monkeypatch: pytest.MonkeyPatch, doubts: tuple[Doubt, ...]) -> str:
    """The page of a comparison with a line that differs at the first budget, where these doubts stand."""
    import radproof.api.web.compare as page

    found = page.showing

    def doubted(settings, run) -> Showing:
        shown = found(settings, run)
        return replace(shown, reading=Reading(shown.result.model_copy(update={"doubts": doubts})))

    one = Shown("10 %", "(5–15)", "n 8")
    line = Line("under attack", "1/255", "", one, one, one, 1, 2, "0.001", True)
    monkeypatch.setattr(page, "showing", doubted)
    monkeypatch.setattr(
        "radproof.api.results.comparing.Comparisons.get", lambda *_: Compared((line,), "8 images", (), "1 of 1.")
    )
    found_page = house.person("viewer").client.get(f"/compare?a={seeds.run}&b={seeds.run}")
    assert found_page.status_code == 200
    return found_page.text


def test_comparison_under_serious_doubt_is_not_established(
    house: House, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = Doubt(kind="masked", severity="serious", about="defense:none", message="the gradient is masked")
    page = compared(house, seeds, monkeypatch, (doubt,))
    lines = page[page.index('id="difference"') : page.index('id="figures"')]
    assert ">differs<" not in lines and ">not established<" in lines and "Serious doubts stand about 1" in lines
    assert f'href="/runs/{seeds.run}#doubt-1"' in lines
    budgets = page[page.index('id="budgets"') :]
    assert "not established" in budgets and f"/runs/{seeds.run}#doubt-1" in budgets


def test_comparison_without_doubts_differs(house: House, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    page = compared(house, seeds, monkeypatch, ())
    assert ">differs<" in page and "Serious doubts stand" not in page
    note = Doubt(kind="x", severity="note", about="defense:none", message="a note")
    assert ">differs<" in compared(house, seeds, monkeypatch, (note,))


def test_refused_comparison_can_be_asked_for_again(house: House, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "radproof.api.results.comparing.Comparisons.get", lambda *_: Compared(refused="it took too long")
    )
    again = f"/compare?a={seeds.run}&b={seeds.run}"
    text = house.person("viewer").client.get(again).text
    part = text[text.index('id="difference"') : text.index('id="figures"')]
    assert "it took too long" in part and again in Read(part).links()
