# SPDX-License-Identifier: Apache-2.0
"""The screening page in a browser: an answer never stands beside an image or a model that it is not about."""

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from tests.api.lodging import lodging_fixture, png  # noqa: F401

pytestmark = pytest.mark.e2e
IMAGES = {name: png(np.full((8, 8), grey, np.uint8)) for name, grey in (("a", 20), ("b", 220))}
HASHES = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in IMAGES.items()}
WATCH = """() => {
  window.seen = []
  const place = document.querySelector('[data-answer]')
  new MutationObserver(() => window.seen.push(place.textContent)).observe(place, { childList: true })
}"""
DROP = """(told) => {
  const bytes = Uint8Array.from(atob(told), (one) => one.charCodeAt(0))
  const dataTransfer = new DataTransfer()
  dataTransfer.items.add(new File([bytes], 'c.png', { type: 'image/png' }))
  document.querySelector('[data-drop]').dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }))
}"""


def choose(page: Any, name: str) -> None:
    page.set_input_files("#image", {"name": f"{name}.png", "mimeType": "image/png", "buffer": IMAGES[name]})


def screen(page: Any, name: str) -> None:
    choose(page, name)
    page.click("button:has-text('Screen the image')")


def nothing(page: Any) -> None:
    page.wait_for_selector("[data-answer]:has-text('The answer will stand here')", timeout=5000)
    assert page.locator("[data-answer] .answer").count() == 0
    assert page.text_content("[data-status]") == ""
    assert page.is_enabled("button:has-text('Screen the image')")
    assert page.get_attribute("[data-answer]", "aria-busy") is None


@pytest.mark.parametrize("how", ["chosen", "dropped", "model"])
def test_a_slow_answer_about_another_image_or_model_is_not_shown(
    lodging: Any, opened: Callable[..., Any], how: str
) -> None:
    who, add = lodging
    add(["answer"])
    other = add(["answer"])
    page = opened(who, "/screen")
    page.evaluate(WATCH)
    held: list[Any] = []
    page.route("**/screen", lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    screen(page, "a")
    page.wait_for_selector("[data-answer][aria-busy]")
    while not held:
        page.wait_for_timeout(10)
    if how == "chosen":
        choose(page, "b")
    elif how == "dropped":
        page.evaluate(DROP, base64.b64encode(IMAGES["b"]).decode())
    else:
        page.select_option("#f-model", other if page.input_value("#f-model") != other else {"index": 1})
    nothing(page)
    page.unroute("**/screen")
    with suppress(Exception):
        held[0].continue_()
    page.click("button:has-text('Screen the image')")
    name = "a" if how == "model" else "b"
    page.wait_for_selector(f"[data-answer] .about:has-text('{HASHES[name]}')")
    cards = [text for text in page.evaluate("window.seen") if "What to do" in text]
    assert len(cards) == 1 and HASHES[name] in cards[0]


def test_an_answer_goes_when_the_image_or_the_model_is_changed(lodging: Any, opened: Callable[..., Any]) -> None:
    who, add = lodging
    add(["answer"])
    add(["answer"])
    page = opened(who, "/screen")
    for change in (
        lambda: choose(page, "b"),
        lambda: page.evaluate(DROP, base64.b64encode(IMAGES["b"]).decode()),
        lambda: page.select_option("#f-model", index=1),
    ):
        screen(page, "a")
        page.wait_for_selector(f"[data-answer] .about:has-text('{HASHES['a']}')")
        assert "Chest" in page.text_content(".about") and "Chest" in page.text_content("[data-status]")
        change()
        nothing(page)
