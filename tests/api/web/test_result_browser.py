# SPDX-License-Identifier: Apache-2.0
"""The pages of a result in a browser: slider, gallery and viewer by keyboard, and the same without scripts."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.api.conftest import House
from tests.api.seeded import Seeds, finished_run, seed

pytestmark = pytest.mark.e2e
DRAWN = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const canvas = document.querySelector('.stage canvas')
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
  let sum = 0
  for (let at = 0; at < data.length; at += 4)
    sum = (sum * 31 + data[at] + 3 * data[at + 1] + 7 * data[at + 2]) % 1000000007
  done(sum)
})))"""
WHITE = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const canvas = document.querySelector('.stage canvas')
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
  let white = 0
  for (let at = 0; at < data.length; at += 4) white += data[at] === 255 && data[at + 1] === 255
  done(white)
})))"""


@pytest.fixture
def seeds(house: House, tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return seed(house, finished_run(tmp_path_factory.getbasetemp()))


@pytest.fixture
def visit(house: House, opened: Callable[..., Any]) -> Callable[..., Any]:
    """Opens a page as a viewer, with or without scripts."""
    return partial(opened, house.person("viewer"))


@pytest.fixture
def image(house: House, seeds: Seeds) -> dict[str, Any]:
    """One of the gallery, with every picture."""
    found = house.person("viewer").client.get(f"/api/v1/runs/{seeds.run}/images?defense=none&limit=100").json()["items"]
    return next((one for one in found if len(one["kinds"]) == 6), found[0])


def ready(page: Any) -> Any:
    page.wait_for_selector("[data-viewer][data-ready]")
    page.focus("#stage")
    return page


def test_viewer_by_keyboard(visit: Callable[..., Any], seeds: Seeds, image: dict[str, Any]) -> None:
    page = ready(visit(f"/runs/{seeds.run}/images/{image['id']}"))
    drawn = page.evaluate(DRAWN)

    page.focus("#split")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.text_content("#split-word") == "48 %"
    swiped = page.evaluate(DRAWN)
    assert swiped != drawn

    page.focus("#window")
    white = page.evaluate(WHITE)
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    assert page.text_content("#window-word") == "195"
    narrow = page.evaluate(WHITE)
    assert narrow > white, "a narrower window makes more pixels white"
    page.focus("#level")
    for _ in range(80):
        page.keyboard.press("ArrowRight")
    assert page.evaluate(WHITE) < narrow, "a higher level makes fewer pixels white"

    page.focus("#stage")
    before = page.evaluate(DRAWN)
    page.keyboard.press("+")
    assert page.text_content("#zoom-word") == "125 %"
    zoomed = page.evaluate(DRAWN)
    page.keyboard.press("ArrowRight")
    assert len({before, zoomed, page.evaluate(DRAWN)}) == 3
    page.wait_for_selector("[data-status]:text-is('Moved')", state="attached")
    page.keyboard.press("r")
    assert page.evaluate(DRAWN) == drawn

    page.keyboard.press("d")
    assert page.is_checked("input[value=difference]") and page.evaluate(DRAWN) != drawn
    if "cam_after" in image["kinds"]:
        page.keyboard.press("c")
        assert page.is_checked("input[value=cam_before]")
    page.keyboard.press("r")
    page.keyboard.press("s")
    assert page.is_checked("input[value=side]") and page.is_hidden("#split")
    assert page.evaluate(DRAWN) != drawn


def test_viewer_by_pointer(visit: Callable[..., Any], seeds: Seeds, image: dict[str, Any]) -> None:
    page = ready(visit(f"/runs/{seeds.run}/images/{image['id']}"))
    box = page.locator(".stage canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60)
    page.mouse.up()
    assert page.text_content("#split-word") == "25 %"
    page.mouse.wheel(0, -200)
    page.wait_for_selector("#zoom-word:text-is('115 %')")
    page.select_option("#drag", "window")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4 - 60, box["y"] + 60)
    page.mouse.up()
    assert page.text_content("#window-word") == "225"
    page.click("button:has-text('Reset')")
    assert page.text_content("#window-word") == "255" and page.text_content("#zoom-word") == "100 %"


def test_filter_then_next_image(visit: Callable[..., Any], seeds: Seeds) -> None:
    page = visit(f"/runs/{seeds.run}/images?outcome=")
    page.select_option("#by-budget", "16/255")
    page.select_option("#by-defense", "none")
    page.click("button:has-text('Show')")
    page.wait_for_url(re.compile("budget=16"))
    page.wait_for_selector(".gallery a")
    links = page.eval_on_selector_all(".gallery a", "all => all.map((one) => one.pathname)")
    assert len(links) > 2 and page.input_value("#by-budget") == "16/255"
    page.click(".gallery li:first-child a")
    ready(page).keyboard.press("n")
    page.wait_for_url(re.compile(re.escape(links[1])))
    page.wait_for_selector("[data-ready]")
    assert page.evaluate("document.activeElement.id") == "stage", "the focus stays with the picture"
    assert "16%2F255" in page.url
    page.keyboard.press("[")
    page.wait_for_url(re.compile(re.escape(links[0])))


def test_slider_changes_the_figures_shown(visit: Callable[..., Any], seeds: Seeds) -> None:
    page = visit(f"/runs/{seeds.run}?budget=clean")
    cells = page.eval_on_selector_all(
        ".ladder-of:not([hidden]) tbody tr:first-child td",
        "all => all.map((one) => one.querySelector('.v').textContent)",
    )
    slot = ".ladder-of:not([hidden]) .slot .v >> nth=0"
    assert page.text_content(slot) == cells[0]
    page.focus("#step")
    for step, value in enumerate(cells[1:], 1):
        page.keyboard.press("ArrowRight")
        assert page.text_content(slot) == value
        assert page.input_value("#step") == str(step)
    word = page.text_content("#step-word")
    page.wait_for_selector(f"#moment-place h2:has-text('at {word}')")
    assert f"step={len(cells) - 1}" in page.url
    assert word in page.text_content("#budget-said")
    page.click("#budget thead th:nth-child(3) a")
    assert page.input_value("#step") == "1" and page.text_content(slot) == cells[1]

    everything = page.locator(".summary tbody tr:visible").count()
    page.select_option("#filter-3", "headline")
    assert 0 < page.locator(".summary tbody tr:visible").count() < everything


def test_pages_without_javascript(visit: Callable[..., Any], seeds: Seeds, image: dict[str, Any]) -> None:
    page = visit(f"/runs/{seeds.run}", scripts=False)
    assert page.locator(".all-budgets:visible td .v").count() > 2
    page.click("#budget thead th:nth-child(2) a")
    assert "budget=clean" in page.url
    now = page.text_content(".slot .v >> nth=0")
    assert now == page.text_content(".all-budgets:visible tbody td:nth-child(2) .v >> nth=0")
    page.goto(page.url.split("/runs/")[0] + f"/runs/{seeds.run}/images/{image['id']}")
    assert page.locator("img[data-kind]:visible").count() == len(image["kinds"])
    assert page.is_hidden("[data-tools]") and page.is_visible("text=What is known")


def test_pages_fit_a_telephone(visit: Callable[..., Any], seeds: Seeds, image: dict[str, Any]) -> None:
    for path in ("", "/images?outcome=", f"/images/{image['id']}"):
        page = visit(f"/runs/{seeds.run}{path}", width=400)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, path
