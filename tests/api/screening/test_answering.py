# SPDX-License-Identifier: Apache-2.0
"""Screening by API and page: answers, refusals, roles, projects, and no trace of any image."""

import hashlib
import json
import logging
import re

import pytest
from sqlalchemy import select
from tests.api.lodging import URL, ask, left, lodging_fixture, png, screeners  # noqa: F401

from radproof.store.ids import new_id
from radproof.store.tables import Event, GuardFile, Model


def test_an_answer_says_verdict_figures_and_what_to_do(house, lodging):
    who, add = lodging
    model = add(["answer"])
    found = ask(who, model)
    assert found.status_code == 200, found.text
    told = found.json()
    assert told["verdict"] == "suspicious" and told["prediction"] == ["Pneumonia"]
    assert told["headline"] == "Do not rely on the model's answer for this image."
    assert told["suspicion"]["flagged"] is True and told["suspicion"]["threshold"] == 1.5 and told["phantom"] is True
    assert told["notice"].startswith("Not for diagnosis") and told["outside"] is None
    assert told["image"] == hashlib.sha256(png()).hexdigest()[:16]
    assert left(house) == []


def test_privacy_no_image_and_no_name_of_one_is_kept_or_logged_and_the_trail_knows_its_hash(house, lodging, caplog):
    who, add = lodging
    model = add(["answer", "refuse", "leave"])
    with caplog.at_level(logging.DEBUG):
        statuses = [ask(who, model).status_code for _ in range(3)]
    assert statuses == [200, 422, 503]
    with house.service.database.reading() as session:
        asked = select(Event).where(Event.action == "image.screen").order_by(Event.number)
        events = [(one.object, one.detail["verdict"]) for one in session.execute(asked).scalars()]
        every = json.dumps([one.detail for one in session.execute(select(Event)).scalars()])
    assert events == [(model, "suspicious"), (model, "refused")]
    assert "Doe" not in caplog.text and "Doe" not in every
    assert left(house) == []
    assert not [
        path for path in house.service.settings.home.rglob("*") if path.is_file() and png() in path.read_bytes()
    ]


def test_a_broken_model_and_a_refused_image_are_problems_with_their_reason(lodging):
    who, add = lodging
    assert "NaN" in ask(who, add(["break"])).json()["detail"]
    found = ask(who, add(["refuse"]))
    assert found.status_code == 422 and found.json()["detail"].startswith("not an image")
    assert found.headers["content-type"] == "application/problem+json"


def test_words_of_a_strangers_process_lose_their_control_characters_and_are_escaped(lodging):
    who, add = lodging
    model = add(["escape"])
    assert ask(who, model).json()["reasons"] == ["[31m<b>red"]
    page = who.client.post("/screen", data={"model": model}, files={"image": ("a", png())})
    assert "&lt;b&gt;red" in page.text and "<b>red" not in page.text


def test_the_viewers_role_is_refused(house, lodging):
    _, add = lodging
    model, viewer = add(["answer"]), house.person("viewer")
    assert ask(viewer, model).status_code == 403
    assert viewer.client.get("/screen").status_code == 403


def test_idor_a_model_of_another_project_is_not_there(house, lodging):
    _, add = lodging
    model, stranger = add(["answer"]), house.person("admin", project="other")
    assert ask(stranger, model).status_code == 404
    assert ask(stranger, model).json() == ask(stranger, new_id("mdl")).json()
    assert model not in stranger.client.get("/screen").text


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ({"state": "importing"}, 409, "not ready"),
        ({"guarded": False}, 422, "no detector is taught"),
    ],
)
def test_models_that_cannot_screen_say_why(lodging, how, status, words):
    who, add = lodging
    found = ask(who, add(["answer"], **how))
    assert found.status_code == status and words in found.json()["detail"]


def test_upload_limits_hold_while_the_image_comes(house, lodging):
    who, add = lodging
    object.__setattr__(house.service, "settings", house.service.settings.model_copy(update={"image_megabytes": 1}))
    model = add(["answer"])
    assert ask(who, model, b"x" * 1_000_001).status_code == 413
    assert left(house) == []


@pytest.mark.parametrize("form", [{"data": {}}, {"files": {"image": ("a", b"x")}}, {"content": b"", "headers": {}}])
def test_forms_without_image_or_model_are_refused(lodging, form):
    who, _ = lodging
    assert who.client.post(URL, **form).status_code in (400, 415, 422)


def test_the_page_offers_models_with_a_detector_and_says_how_to_teach_one(house, lodging):
    who, add = lodging
    assert "No model can screen yet" in who.client.get("/screen").text
    bare = add(["answer"], guarded=False)
    page = house.person("developer").client.get("/screen").text
    assert f"/models/{bare}" in page and "Teach one" in page
    model = add(["answer"])
    page = who.client.get("/screen").text
    assert f'value="{model}"' in page and f'value="{bare}"' not in page and "Not for diagnosis" in page


def test_without_javascript_the_form_gives_the_same_page_with_the_answer(house, lodging):
    who, add = lodging
    model = add(["answer", "refuse"])
    form = {"data": {"csrf_token": who.csrf, "model": model}, "files": {"image": ("a.png", png())}}
    del who.client.headers["X-CSRF-Token"]
    page = who.client.post("/screen", **form)
    assert page.status_code == 200 and page.headers["cache-control"] == "no-store"
    for said in ("Do not rely on the model", "87 % sure", "What to do", "<form", "Phantom"):
        assert said in page.text
    refused = who.client.post("/screen", **form)
    assert refused.status_code == 422 and "This image was not screened" in refused.text and "<form" in refused.text
    who.client.headers["X-CSRF-Token"] = "wrong"
    assert who.client.post("/screen", **form).status_code == 403


def test_a_script_gets_the_answer_alone(lodging):
    who, add = lodging
    page = who.client.post(
        "/screen", data={"model": add(["answer"])}, files={"image": ("a", png())}, headers={"X-Fragment": "answer"}
    )
    assert page.text.lstrip().startswith("<section") and "data-said=" in page.text


def chosen(text: str) -> list[str]:
    return re.findall(r'<option value="([^"]*)" selected>', text)


@pytest.mark.parametrize("plan", ["answer", "refuse"])
def test_without_javascript_model_and_view_stay_as_they_were_chosen_and_the_answer_names_them(house, lodging, plan):
    who, add = lodging
    models = [add([plan]) for _ in range(3)]
    with house.service.database.writing() as session:
        for number, model in enumerate(models):
            session.get(Model, model).name = f"Chest {number}"
            guard = session.execute(select(GuardFile).where(GuardFile.model_id == model)).scalar_one()
            guard.facts = {"suspicion": {"thresholds": {"by": "view"}}}
    data = {"model": models[2], "view": "LATERAL"}
    page = who.client.post("/screen", data=data, files={"image": ("a.png", png())}).text
    assert chosen(page) == [models[2]] and 'name="view"' in page and 'value="LATERAL"' in page
    card = page[page.index("data-said") :]
    assert "Chest 2" in card and "LATERAL" in card and hashlib.sha256(png()).hexdigest()[:16] in card
    assert "Chest 0" not in card


def test_a_form_that_did_not_come_whole_chooses_no_model_for_anybody(house, lodging):
    who, add = lodging
    object.__setattr__(house.service, "settings", house.service.settings.model_copy(update={"image_megabytes": 1}))
    models = [add(["answer"]) for _ in range(2)]
    page = who.client.post("/screen", data={"model": models[1]}, files={"image": ("a", b"x" * 1_000_001)})
    assert page.status_code == 413 and chosen(page.text) == [""] and ">Choose a model<" in page.text
