# SPDX-License-Identifier: Apache-2.0
"""Every page at 400 and 1280 pixels, light and dark, and what axe says: `python -m bench.screenshots`."""

import argparse
import os
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from bench.load import server

WIDTHS = (400, 1280)
STATUS = {"nothing": 404, "closed": 403}
SCHEMES = ("light", "dark")
TAGS = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}


def pages(client: httpx.Client) -> dict[str, str]:
    """A name for each page, and its address on a server with the example; `client` asks its API."""
    model, run, data = (client.get(f"/{kind}").json()["items"][-1]["id"] for kind in ("models", "runs", "data"))
    image = client.get(f"/runs/{run}/images", params={"outcome": "fooled", "limit": 1}).json()["items"][0]["id"]
    return {
        "overview": "/", "models": "/models", "model": f"/models/{model}", "new-model": "/models/new",
        "data-sets": "/data", "data-set": f"/data/{data}", "new-data-set": "/data/new", "assess": "/assess",
        "runs": "/runs", "run": f"/runs/{run}", "images": f"/runs/{run}/images",
        "viewer": f"/runs/{run}/images/{image}", "compare": f"/compare?a={run}&b={run}", "screen": "/screen",
        "readers": "/readers", "new-reader-test": f"/readers/new?run={run}", "account": "/account", "admin": "/admin",
        "people": "/admin/people", "projects": "/admin/projects", "trail": "/admin/trail", "nothing": "/nothing",
    }  # fmt: skip


def made(page: Page, addresses: dict[str, str]) -> dict[str, str]:
    """Pages of what people did and do: the outcome of a reader test, and a run that is at work."""
    outcome = reader_test(page, addresses)
    page.goto(f"{outcome}?begin=1")
    for number in (2, 3):  # the next trial, then the outcome
        page.get_by_role("button", name="Left one was altered").click()
        page.get_by_text("Trial 2 of 2" if number == 2 else "Your result").first.wait_for()
    page.goto(f"/assess?preset=full&model={addresses['model'].rsplit('/', 1)[1]}")
    page.get_by_role("button", name="Start the assessment").click()
    page.wait_for_url("**/runs/run_*")
    return {"reader-outcome": outcome, "live-run": urlsplit(page.url).path}


def reader_test(page: Page, addresses: dict[str, str]) -> str:
    """A new one; its page."""
    page.goto(addresses["new-reader-test"])
    page.locator("#f-trials, [name=trials]").first.fill("2")
    page.get_by_role("button", name="Make the test").click()
    page.wait_for_url("**/readers/rdr_*")
    return urlsplit(page.url).path


def midway(test: str, addresses: dict[str, str]) -> dict[str, str]:
    """Pages of a reader test on its way; from its first trial on, pages of its images are closed."""
    return {
        "reader-begin": test,
        "reader-trial": f"{test}?begin=1",
        "closed": addresses["viewer"],
        "reader-give-up": f"{test}/give-up",
    }


def faults(page: Page, address: str, status: int) -> Iterator[str]:
    """What is wrong with a page, once it is open."""
    answer = page.goto(address)
    page.wait_for_load_state("load")
    if answer is None or answer.status != status:
        yield f"{address}: {answer.status if answer else 'no answer'}"
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        yield f"{address} scrolls sideways at {page.viewport_size}"
    for one in Axe().run(page, options=TAGS).response["violations"]:
        yield f"{address}: {one['id']}: {[node['target'] for node in one['nodes']][:3]}"


def draw(url: str, out: Path, chromium: str) -> list[str]:
    """The files; what is wrong with them is returned."""
    out.mkdir(parents=True, exist_ok=True)
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:
        addresses = pages(client)
    wrong: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        first = browser.new_page(base_url=url)
        addresses |= made(first, addresses)
        first.close()
        for width, scheme in product(WIDTHS, SCHEMES):
            context = browser.new_context(  # axe is put into the page from outside, which the policy would refuse
                base_url=url, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            test = reader_test(page, addresses)
            for name, address in (addresses | midway(test, addresses)).items():
                wrong += faults(page, address, STATUS.get(name, 200))
                page.screenshot(path=out / f"{name}-{width}-{scheme}.png", full_page=True)
            page.get_by_role("button", name="Give up for good").click()  # or its images stay closed
            page.wait_for_url(f"**{test}")
            context.close()
        browser.close()
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.screenshots", description=__doc__)
    parser.add_argument("--example", type=Path, default=Path("runs/serve"))
    parser.add_argument("--out", type=Path, default=Path("runs/screenshots"))
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    parser.add_argument("--chromium", default=found)
    told = parser.parse_args()
    if not told.chromium:
        parser.error("no Chromium on this machine; install it, or name one with --chromium")
    with server(told.example, 1, "--no-auth") as (url, _):
        wrong = draw(url, told.out, told.chromium)
    print(f"{len(list(told.out.glob('*.png')))} pictures in {told.out}")
    if wrong:
        raise SystemExit("\n".join(dict.fromkeys(wrong)))


if __name__ == "__main__":
    main()
