# SPDX-License-Identifier: Apache-2.0
"""Every page at 400 and 1280 pixels, light and dark: `python -m bench.screenshots`, by the system's Chromium."""

import argparse
import os
import shutil
from itertools import product
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from bench.load import server

WIDTHS = (400, 1280)
SCHEMES = ("light", "dark")


def pages(url: str) -> dict[str, str]:
    """A name for each page, and its address on a server with the example."""
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:
        model, run, data = (client.get(f"/{kind}").json()["items"][0]["id"] for kind in ("models", "runs", "data"))
        image = client.get(f"/runs/{run}/images", params={"outcome": "fooled", "limit": 1}).json()["items"][0]["id"]
    return {
        "overview": "/", "models": "/models", "model": f"/models/{model}", "new-model": "/models/new",
        "data-sets": "/data", "data-set": f"/data/{data}", "new-data-set": "/data/new", "assess": "/assess",
        "runs": "/runs", "run": f"/runs/{run}", "images": f"/runs/{run}/images",
        "viewer": f"/runs/{run}/images/{image}", "compare": f"/compare?a={run}&b={run}", "screen": "/screen",
        "readers": "/readers", "new-reader-test": f"/readers/new?run={run}", "account": "/account", "admin": "/admin",
        "people": "/admin/people", "projects": "/admin/projects", "trail": "/admin/trail", "nothing": "/nothing",
    }  # fmt: skip


def draw(url: str, out: Path, chromium: str) -> list[str]:
    """The files; addresses that answered otherwise than expected are returned."""
    out.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        for width, scheme in product(WIDTHS, SCHEMES):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            for name, address in pages(url).items():
                answer = page.goto(f"{url}{address}")
                page.wait_for_load_state("load")
                if answer is None or answer.status != (404 if name == "nothing" else 200):
                    wrong.append(f"{address}: {answer.status if answer else 'no answer'}")
                if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                    wrong.append(f"{address} scrolls sideways at {width} px")
                page.screenshot(path=out / f"{name}-{width}-{scheme}.png", full_page=True)
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
