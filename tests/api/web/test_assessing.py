# SPDX-License-Identifier: Apache-2.0
"""A new assessment without scripts: filled in by a preset, estimated, refused beside the field, started."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from sqlalchemy import select
from tests.api.conftest import House, Person
from tests.api.web.conftest import Full

from radproof.api.plans import catalogue, forming
from radproof.api.plans.forming import Filled
from radproof.api.plans.presets import PRESETS, composed
from radproof.store.tables import Run, SavedPlan


class Form(HTMLParser):
    """The fields of the form at /assess as a browser would send them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []
        self._select, self._first = "", ""
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One."""
        told: dict[str, Any] = dict(attrs)
        if tag == "form":
            self._inside = told.get("id") == "assessment"
        if not self._inside:
            return
        name, value = told.get("name", ""), told.get("value") or ""
        if tag == "input" and name and (told.get("type") != "checkbox" or "checked" in told):
            self.fields.append((name, value))
        if tag == "select":
            self._select, self._first = name, ""
        if tag == "option" and self._select and (not self._first or "selected" in told):
            self.fields = [one for one in self.fields if one[0] != self._select] + [(self._select, value)]
            self._first = "seen"


def fields_of(person: Person, address: str) -> list[tuple[str, str]]:
    found = person.client.get(address)
    assert found.status_code == 200
    return Form(found.text).fields


def sent(person: Person, fields: list[tuple[str, str]], **more: str) -> Any:
    kept = [one for one in fields if one[0] not in more]
    told: dict[str, list[str]] = {}
    for name, value in [*kept, *more.items()]:
        told.setdefault(name, []).append(value)
    return person.client.post("/assess", data=told, follow_redirects=False)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_comes_back_from_its_form_as_it_was(house: House, full: Full, name: str) -> None:
    person = house.person("developer")
    form = Filled(forming.received(fields_of(person, f"/assess?preset={name}&model={full.model}")))
    plan = forming.document_of(form)
    assert form.errors == {}
    wanted = composed(name, model=full.model)
    for key in ("attacks", "budgets", "goals", "defenses", "detectors", "corruptions"):
        assert _named(plan.get(key, [])) == _named(wanted.get(key, [])), key
    if wanted.get("defenses"):
        assert _named(plan["adaptive"]) == _named(wanted["adaptive"])
    assert plan["data"]["images"] == wanted["data"]["images"] and plan["model"] == {"id": full.model}


def test_an_assessment_is_started_by_a_plain_form(house: House, full: Full) -> None:
    person = house.person("developer")
    fields = fields_of(person, f"/assess?model={full.model}&data={full.data}&preset=quick-look")
    answer = sent(person, fields, do="start", name="Mine", images="12", priority="7")
    assert answer.status_code == 303, answer.text[:3000]
    with house.service.database.reading() as session:
        run = session.get(Run, re.findall(r"/runs/(run_\w+)\?said=started", answer.headers["location"])[0])
        assert run is not None
        plan = session.execute(select(SavedPlan).where(SavedPlan.id == run.plan_id)).scalar_one()
        job = house.service.jobs.of(session, run.id)
    assert (run.model_id, run.data_id, job and job.priority) == (full.model, full.data, 7)
    assert plan.document["data"]["images"] == 12 and plan.document["budgets"] == ["1/255", "4/255"]
    assert "The assessment was queued." in person.client.get(answer.headers["location"]).text


def test_errors_stand_beside_their_fields_and_everything_is_kept_as_typed(house: House, full: Full) -> None:
    person = house.person("developer")
    fields = fields_of(person, f"/assess?model={full.model}")
    wrong = {"budgets": "4/255, many", "attacks.pgd.steps": "0", "seed": "<b>x", "name": 'a "name"'}
    answer = sent(person, fields, do="start", **wrong)
    assert answer.status_code == 422
    kept = dict(Form(answer.text).fields)
    assert {key: kept[key] for key in wrong} == wrong
    for id in ("f-budgets", "f-attacks-pgd-steps", "f-seed"):
        assert f'id="{id}-error"' in answer.text, id
    assert "<b>x" not in answer.text
    with house.service.database.reading() as session:
        assert session.execute(select(Run).where(Run.name == 'a "name"')).scalar_one_or_none() is None


def test_the_estimate_is_a_second_button_and_shows_the_plan(house: House, full: Full) -> None:
    person = house.person("developer")
    fields = fields_of(person, f"/assess?model={full.model}")
    text = sent(person, fields, do="estimate").text
    assert "Gradients" in text and "minutes" in text
    told = re.findall(r'aria-label="Plan as YAML">(.*?)</pre>', text, re.DOTALL)[0].replace("&#39;", "'")
    assert yaml.safe_load(told)["model"] == {"id": full.model}
    piece = person.client.post("/assess/estimate", data=dict(fields)).text
    assert "<html" not in piece and "Gradients" in piece


def test_another_preset_is_filled_in_without_scripts(house: House, full: Full) -> None:
    person = house.person("developer")
    answer = sent(person, fields_of(person, f"/assess?model={full.model}"), do="preset", preset="clinical")
    assert answer.status_code == 303 and "preset=clinical" in answer.headers["location"]
    assert "usmm" in [value for name, value in fields_of(person, answer.headers["location"]) if name == "attacks"]


def test_what_no_form_holds_is_not_taken(house: House, full: Full) -> None:
    person = house.person("developer")
    fields = fields_of(person, f"/assess?model={full.model}")
    answer = sent(person, [*fields, ("attacks", "foreign"), ("defenses", "../../etc")], do="start")
    assert answer.status_code == 422 and "no attack of the name" in answer.text
    assert sent(person, fields, do="start", model="mdl_" + "0" * 26).status_code == 422
    assert sent(person, fields, do="start", preset="nothing").status_code == 422


def test_every_default_of_every_parameter_is_within_its_own_range() -> None:
    for parts in catalogue.parts().values():
        for part in parts.values():
            for one in part.parameters:
                if one.form == "other" or one.default is None or one.default == "":
                    continue
                text = {True: "yes", False: "no"}.get(one.default) if one.form == "yes" else str(one.default)
                text = ", ".join(one.default) if one.form == "list" else text
                assert one.read(text or "") == one.default, f"{part.name}.{one.name}"


@pytest.mark.parametrize("text", ["nan", "inf", "1/0", "1e999", "9" * 300, "", "x"])
def test_a_number_is_a_number(text: str) -> None:
    steps = next(one for one in catalogue.part("attack", "pgd").parameters if one.name == "steps")
    with pytest.raises(ValueError, match=r"^(expected|at most) "):
        steps.read(text)


def test_the_catalogue_for_programs(house: House) -> None:
    client = house.person("viewer").client
    told = client.get("/api/v1/parts")
    assert {len(told.json()[kind]) > 5 for kind in ("attack", "defense", "detector", "corruption")} == {True}
    assert client.get("/api/v1/parts", headers={"If-None-Match": told.headers["etag"]}).status_code == 304
    one = client.get("/api/v1/parts/attack/pgd").json()
    steps = next(p for p in one["parameters"] if p["name"] == "steps")
    assert steps["form"] == "whole" and steps["least"] == 1 and steps["most"] >= 100
    assert client.get("/api/v1/parts/attack/pdg").status_code == 404
    assert client.get("/api/v1/parts/weapon/pgd").status_code == 422


def _named(entries: list[Any]) -> list[tuple[str, dict[str, str]]]:
    told = [{"name": one} if isinstance(one, str) else one for one in entries]
    return sorted(
        ((one["name"], {key: str(value) for key, value in one.items() if key != "name"}) for one in told),
        key=lambda pair: pair[0],
    )
