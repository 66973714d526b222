# SPDX-License-Identifier: Apache-2.0
"""A trial in a browser: keys answer while the pair has the focus, and nowhere else."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.api.conftest import House
from tests.api.readers.test_asking import run, test_id  # noqa: F401

from radproof.store.tables import ReaderAnswer

pytestmark = pytest.mark.e2e
KEYS = ("1", "2", "ArrowLeft", "ArrowRight", "z")


def test_wcag_2_1_4_keys_act_only_while_the_pair_has_the_focus(
    house: House,
    test_id: str,  # noqa: F811
    opened: Callable[..., Any],  # last, and so closed first: its pages may still ask for what others stand in for
) -> None:
    page = opened(house.person("clinician"), f"/readers/{test_id}?begin=1")
    page.wait_for_selector("[data-watched]:focus")
    assert "While the pair has the focus" in page.text_content("#keys")
    for place in ("a.skip, header a", "header button, footer a, header nav a"):
        page.locator(place).first.focus()
        for key in KEYS:
            page.keyboard.press(key)
    page.evaluate("document.activeElement.blur()")
    for key in KEYS:
        page.keyboard.press(key)
    assert "Trial 1 of" in page.text_content("main") and page.locator(".pair.large").count() == 0
    with house.service.database.reading() as session:
        assert session.execute(select(func.count()).select_from(ReaderAnswer)).scalar_one() == 0

    page.focus("[data-watched] .frame >> nth=0")
    page.keyboard.press("z")
    assert page.locator(".pair.large").count() == 1
    page.keyboard.press("z")
    for number, key in enumerate(KEYS[:4], 2):  # no key but the answer: each new pair has the focus
        page.keyboard.press(key)
        page.wait_for_selector(f"text=Trial {number} of")
        page.wait_for_selector("[data-watched]:focus")
    with house.service.database.reading() as session:
        asked = select(ReaderAnswer.answer).order_by(ReaderAnswer.at)
        assert list(session.execute(asked).scalars()) == ["left", "right", "left", "right"]


def test_without_scripts_nothing_takes_the_focus_and_the_buttons_answer(
    house: House,
    test_id: str,  # noqa: F811
    opened: Callable[..., Any],  # last, and so closed first: its pages may still ask for what others stand in for
) -> None:
    page = opened(house.person("clinician"), f"/readers/{test_id}?begin=1", scripts=False, width=400)
    assert page.get_attribute("[data-watched]", "tabindex") is None and page.is_hidden("#keys")
    page.click("button[value=left]")
    page.wait_for_selector("text=Trial 2 of")
