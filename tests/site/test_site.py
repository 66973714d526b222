# SPDX-License-Identifier: Apache-2.0
"""One person's way through the site in a browser, and every page by axe: narrow and dark by default."""

import json
import re
import shutil
import zipfile
from itertools import product
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from bench.screenshots import TAGS, faults, pages
from playwright.sync_api import Page, expect
from tests.site.conftest import sign_in
from tests.site.running import PASSWORD, Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
USUAL = [(400, "dark")]
REST = [pair for pair in product((400, 1280), ("light", "dark")) if pair not in USUAL]
LONG = 180_000  # milliseconds for what a worker does


@pytest.fixture(scope="module")
def model_zip(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's network as its owner would pack it."""
    made = shutil.make_archive(str(tmp_path_factory.mktemp("zip") / "network"), "zip", finished / "model")
    return Path(made)


@pytest.fixture(scope="module")
def images_zip(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's images, a folder per class."""
    from radproof.data.manifest import Manifest

    manifest = Manifest.read(next((finished / "data").glob("*/manifest.parquet")).parent)
    path = tmp_path_factory.mktemp("zip") / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for sample in manifest.samples:
            archive.write(manifest.root / sample.path, f"{sample.labels[0]}/{sample.id}.png")
    return path


def test_from_the_link_to_a_cancelled_run(
    page: Page, site: Site, model_zip: Path, images_zip: Path, finished: Path, tmp_path: Path
) -> None:
    page.context.clear_cookies()
    sign_in(page, site)

    page.goto("/models/new")
    page.locator('input[type="file"][name="file"]').set_input_files(model_zip)
    page.get_by_label("Name", exact=False).first.fill("Ward network")
    page.locator("main button.primary").click()
    page.wait_for_url(re.compile(r"/models/mdl_"))
    expect(page.locator("main")).to_contain_text("ready", timeout=LONG)
    model = page.url.split("?")[0]

    page.goto("/data/new")
    page.locator('input[type="file"][name="file"]').set_input_files(images_zip)
    page.get_by_label("Name", exact=False).first.fill("Ward images")
    page.locator("main button.primary").click()
    page.wait_for_url(re.compile(r"/data/dat_"))
    expect(page.locator("main")).to_contain_text("ready", timeout=LONG)
    data = page.url.split("?")[0].rsplit("/", 1)[1]

    page.goto(f"/assess?model={model.rsplit('/', 1)[1]}&data={data}&preset=quick")
    page.get_by_label("Name of the assessment").fill("First look")
    page.get_by_label("Test images").fill("8")
    page.get_by_label("Budgets").fill("16/255")
    for slow in ("attacks-sia", "defenses-jpeg_tvm", "adaptive-pgd", "adaptive-square"):
        page.locator(f"#c-{slow}").uncheck()
    page.get_by_role("button", name="Start the assessment").click()
    page.wait_for_url(re.compile(r"/runs/run_"))
    expect(page.get_by_role("progressbar").or_(page.locator(".progress")).first).to_be_visible(timeout=LONG)
    run = page.url.split("?")[0]
    expect(page.locator("#budget, input[type=range]").first).to_be_visible(timeout=2 * LONG)

    page.goto(f"{run}/images?outcome=fooled")
    page.locator('main a[href*="/images/"]').first.click()
    split = page.locator("#split")
    expect(split).to_be_visible()
    before = page.locator("canvas").first.screenshot()
    split.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#split-word")).to_have_text("70 %")
    assert page.locator("canvas").first.screenshot() != before

    page.goto(run)
    page.locator("summary", has_text="Download").click()
    for kind, start in (("pdf", b"%PDF-"), ("json", b"{")):
        with page.expect_download() as download:
            page.locator(f'a[href$="report.{kind}"]').first.click()
        path = tmp_path / f"report.{kind}"
        download.value.save_as(path)
        assert path.read_bytes().startswith(start)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["images"] == 8
    assert str(site.home) not in (tmp_path / "report.json").read_text()

    page.goto("/screen")
    image = tmp_path / "surname-firstname.png"
    shutil.copyfile(next((finished / "data").glob("*/images/**/*.png")), image)
    page.locator("#image").set_input_files(image)
    page.get_by_role("button", name="Screen the image").click()
    expect(page.locator("[data-answer]")).to_contain_text(
        re.compile("clear|suspicious|altered|unlike", re.I), timeout=LONG
    )
    assert "surname" not in page.content()

    page.goto(f"/assess?model={model.rsplit('/', 1)[1]}&data={data}&preset=full")
    page.get_by_label("Name of the assessment").fill("Too long")
    page.get_by_role("button", name="Start the assessment").click()
    page.wait_for_url(re.compile(r"/runs/run_"))
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=re.compile("cancel", re.I)).first.click()
    expect(page.locator("main")).to_contain_text("cancelled", timeout=LONG)
    assert PASSWORD not in "".join(site.lines)
    assert "surname" not in "".join(site.lines)


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
