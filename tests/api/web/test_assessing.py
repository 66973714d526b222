# SPDX-License-Identifier: Apache-2.0
"""A new assessment without scripts: filled in by a preset, estimated, refused beside the field, started."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from sqlalchemy import select
from tests.api.conftest import House, Person
from tests.api.web.conftest import Full

from radproof.api.plans import catalogue, forming, networks, promises
from radproof.api.plans.forming import Filled
from radproof.api.plans.presets import PRESETS, composed
from radproof.api.plans.promises import DOUBTS
from radproof.api.shelf.holdings import job_of
from radproof.assess.sections import HardenedPlan
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
    assert plan.get("surrogates") == wanted.get("surrogates")
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
        job = job_of(session, run.id)
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


def test_other_networks_and_gates_are_part_of_the_plan_and_come_back_into_the_form(house: House, full: Full) -> None:
    person = house.person("developer")
    fields = fields_of(person, f"/assess?model={full.model}&preset=quick-look")
    assert ("surrogates", full.model) not in fields and f'id="c-surrogates-{full.model}"' not in person.client.get(
        f"/assess?model={full.model}"
    ).text
    chosen = [*fields, ("surrogates", "small"), ("hardened", "adversarial-trades"), ("hardened", "committee")]
    gates = {"hardened.adversarial-trades.eps": "4/255", "hardened.adversarial-trades.epochs": "3",
             "gate.0.figure": "robust_accuracy", "gate.0.limit": "0.4", "gate.0.at": "1/255",
             "gate.1.figure": "no serious doubts"}  # fmt: skip
    text = sent(person, chosen, do="estimate", **gates).text
    plan = yaml.safe_load(unescape(re.findall(r'aria-label="Plan as YAML">(.*?)</pre>', text, re.DOTALL)[0]))
    assert list(plan["surrogates"]) == ["cxrnet"] and plan["gate"] == ["robust_accuracy >= 0.4 @ 1/255", DOUBTS]
    assert plan["hardened"]["committee"] == {"of": ["model", "adversarial-trades"]}
    train = plan["hardened"]["adversarial-trades"]["train"]
    assert train["epochs"] == 3 and train["adversarial"] == {"method": "trades", "eps": "4/255"}
    without = sent(person, fields, do="estimate").text
    passes = [int(re.findall(r"Forward passes</dt><dd>([\d,]+)", one)[0].replace(",", "")) for one in (text, without)]
    assert passes[0] > passes[1] + 3 * 360 * 30 and "may end earlier" in text
    answer = sent(person, chosen, do="start", **gates)
    assert answer.status_code == 303, answer.text[:3000]
    with house.service.database.reading() as session:
        run = session.get(Run, re.findall(r"/runs/(run_\w+)\?", answer.headers["location"])[0])
        assert run is not None
    again = Form(person.client.get(f"/assess?plan={run.plan_id}").text)
    for one in [*chosen[len(fields) :], *gates.items(), ("gate.0.way", ">=")]:
        assert one in again.fields, one


def test_what_is_wrong_with_them_stands_at_its_field(house: House, full: Full) -> None:
    person = house.person("developer")
    fields = fields_of(person, f"/assess?model={full.model}&preset=quick-look")
    wrong = [("surrogates", full.model), ("hardened", "mdl_" + "0" * 26), ("hardened", "noise")]
    gates = {
        "hardened.noise.epochs": "-2",
        "gate.0.figure": "clean_accuracy",
        "gate.0.limit": "2",
        "gate.1.limit": "0.5",
    }
    text = sent(person, [*fields, *wrong], do="start", **gates).text
    for id in ("f-hardened-noise-epochs-error", "f-gate-0-limit-error", "f-gate-1-figure-error"):
        assert f'id="{id}"' in text, id
    assert "the model under test cannot stand here too" in text and "no model of this project" in text
    answer = sent(person, fields, do="start", **{"gate.0.figure": "attack_success", "gate.0.limit": "0.2",
                                                 "gate.0.at": "9/255"})  # fmt: skip
    assert answer.status_code == 422 and 'id="f-gate-0-at-error"' in answer.text
    assert "a gate is one of" not in answer.text


def test_rows_are_added_without_scripts_and_keep_what_was_typed(house: House, full: Full) -> None:
    person = house.person("developer")
    fields = fields_of(person, f"/assess?model={full.model}")
    answer = sent(person, fields, do="gate", **{"gate.1.figure": "grade", "gate.1.limit": "C"})
    told = dict(Form(answer.text).fields)
    assert answer.status_code == 200 and told["gate.1.limit"] == "C" and "gate.5.limit" in told
    assert "gate.3.limit" not in dict(fields)
    assert len(promises.rows({"gate_rows": ["9" * 3], "gate.99.figure": ["grade"]})) == promises.MOST


def test_a_plan_that_the_form_cannot_say_is_named(house: House) -> None:
    assert forming.unsaid(composed("transfer", model="mdl_x")) == []
    plan = {"seed": 1, "surrogates": {"mine": {"id": "mdl_a"}}, "gate": ["grade >= C"],
            "hardened": {"x": {"like": "model", "behind": ["jpeg"]}}}  # fmt: skip
    assert forming.unsaid(plan) == ["surrogates", "hardened networks"]


@pytest.mark.parametrize("name", [name for name in networks.recipes() if name != "committee"])
def test_every_recipe_is_one_that_a_plan_takes(name: str) -> None:
    recipe = networks.recipes()[name]
    told = {"hardened": [name]} | {
        f"hardened.{name}.{one.name}": ["" if one.default is None else str(one.default)] for one in recipe.parameters
    }
    errors: dict[str, str] = {}
    section = networks.hardened(told, errors, known=(), model="", seed=1)
    assert errors == {} and HardenedPlan.model_validate(section[name])
    assert networks.hardened_fields(section, 1)[0]["hardened"] == [name]
