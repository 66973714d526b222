# SPDX-License-Identifier: Apache-2.0
"""Pages that wait for work in a browser: what is typed, open or focused stays while they ask again."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.api.conftest import House
from tests.api.web.conftest import Full

from radproof.store.ids import new_id
from radproof.store.tables import Job, Model, Run

pytestmark = pytest.mark.e2e


LATER = "10"  # seconds: more than pages wait before they ask again


def importing(house: House, full: Full, stage: str) -> None:
    """The model is at this stage of its import."""
    with house.service.database.writing() as session:
        job = session.query(Job).filter_by(subject_id=full.importing).one_or_none()
        if job is None:
            model = session.get(Model, full.importing)
            assert model is not None
            job = Job(id=new_id("job"), kind="model", subject_id=model.id, state="running", project_id=model.project_id)
            session.add(job)
        job.progress = {"stage": stage, "share": 0.5}


def test_typing_survives_polling_and_the_end_of_the_work(house: House, full: Full, opened: Callable[..., Any]) -> None:
    importing(house, full, "Opening")
    page = opened(house.person("developer"), f"/models/{full.importing}", clock=True)
    page.wait_for_selector("#progress:has-text('Opening')")
    page.fill("#f-name", "half a na")
    page.evaluate("document.querySelector('#f-name').setSelectionRange(4, 4)")
    importing(house, full, "Checking")
    page.clock.fast_forward(LATER)
    page.wait_for_selector("#progress:has-text('Checking')")
    assert page.input_value("#f-name") == "half a na"
    assert page.evaluate("[document.activeElement.id, document.activeElement.selectionStart]") == ["f-name", 4]
    with house.service.database.writing() as session:
        session.query(Job).filter_by(subject_id=full.importing).one().state = "done"
        session.get(Model, full.importing).state = "ready"  # type: ignore[union-attr]
    page.clock.fast_forward(LATER)
    page.wait_for_selector("#progress:has-text('It is over')")
    page.wait_for_selector("#state:has-text('ready')")
    assert page.input_value("#f-name") == "half a na", "the page is not shown anew under somebody's hands"
    page.click("#show-outcome")
    page.wait_for_selector("text=New assessment")
    assert page.is_hidden("#progress")


def test_page_that_nobody_touched_is_shown_anew_when_the_work_is_over(
    house: House, full: Full, opened: Callable[..., Any]
) -> None:
    importing(house, full, "Opening")
    page = opened(house.person("developer"), f"/models/{full.importing}", clock=True)
    page.wait_for_selector("#progress:has-text('Opening')")
    with house.service.database.writing() as session:
        session.query(Job).filter_by(subject_id=full.importing).one().state = "done"
        session.get(Model, full.importing).state = "ready"  # type: ignore[union-attr]
    page.clock.fast_forward(LATER)
    page.wait_for_selector("text=New assessment")


def test_focus_and_choices_survive_the_polling_of_runs(house: House, full: Full, opened: Callable[..., Any]) -> None:
    page = opened(house.person("developer"), "/runs", clock=True)
    page.select_option("#f-state", "paused")
    page.focus(f"#name-{full.stopped}")
    with house.service.database.writing() as session:
        session.get(Run, full.stopped).name = "another name"  # type: ignore[union-attr]
    page.clock.fast_forward(LATER)
    page.wait_for_selector(f"#name-{full.stopped}:has-text('another name')")
    assert page.evaluate("document.activeElement.id") == f"name-{full.stopped}"
    assert page.input_value("#f-state") == "paused"
