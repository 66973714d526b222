# SPDX-License-Identifier: Apache-2.0
"""Every page, narrow and dark, and wide and light: axe finds nothing, nothing scrolls sideways, all is by name."""

from itertools import product

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from bench.screenshots import TAGS, faults, pages
from tests.site.running import Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
USUAL = [(400, "dark"), (1280, "light")]
REST = [pair for pair in product((400, 1280), ("light", "dark")) if pair not in USUAL]


def wrong(site: Site, chromium, state: dict, width: int, scheme: str) -> list[str]:
    """What is wrong, page by page."""
    cookies = {one["name"]: one["value"] for one in state["cookies"]}
    with httpx.Client(base_url=f"{site.address}/api/v1", cookies=cookies, timeout=60) as client:
        addresses = pages(client)
    found: list[str] = []
    look = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
    for who, listed in (({"storage_state": state}, addresses), ({}, {"login": "/login"})):
        context = chromium.new_context(base_url=site.address, **look, **who)
        page = context.new_page()
        for name, address in listed.items():
            found += faults(page, address, 404 if name == "nothing" else 200)
        context.close()
    return found


@pytest.mark.parametrize(("width", "scheme"), [*USUAL, *(pytest.param(*one, marks=pytest.mark.slow) for one in REST)])
def test_every_page_can_be_used_by_everybody(site: Site, chromium, signed_in: dict, width: int, scheme: str) -> None:
    assert wrong(site, chromium, signed_in, width, scheme) == []


def test_a_page_with_faults_would_be_told(chromium) -> None:
    page = chromium.new_page()
    page.set_content("<html lang=en><title>t</title><main><h1>t</h1><img src=x><input></main>")
    ids = {one["id"] for one in Axe().run(page, options=TAGS).response["violations"]}
    page.close()
    assert {"image-alt", "label"} <= ids
