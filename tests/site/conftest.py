# SPDX-License-Identifier: Apache-2.0
"""A server with a finished run, and a browser signed in as its first administrator."""

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from tests.api.seeded import assessed
from tests.jobs.test_importing import here_instead
from tests.once import once
from tests.site.running import PASSWORD, Site

from radproof import app
from radproof.api.serving import example_facts
from radproof.assess import describing

PLAN = {
    "name": "tiny",
    "title": "A tiny network on drawn chest X-rays",
    "seed": 1,
    "data": {"kind": "phantom", "count": 200, "size": 32, "seed": 1, "images": 12},
    "model": {
        "train": {
            "architecture": "cxrnet", "input_size": 32, "hidden": 0, "dropout": 0.0, "head_epochs": 0, "epochs": 4,
            "unfreeze": "all", "lr": 0.003, "schedule": "onecycle", "patience": 50, "balance": "none",
            "augment": {"enabled": False}, "precision": "fp32",
        }
    },
    "attacks": ["fgsm", {"name": "pgd", "steps": 5}],
    "budgets": ["1/255", "8/255"],
    "defenses": ["jpeg_tvm"],
    "adaptive": [{"name": "pgd", "steps": 2}],
    "detectors": ["drift"],
    "detection": {"benign": False, "images": 20, "required": False},
    "smallest": None,
    "survival": False,
    "precision": "fp32",
    "batch": 12,
    "bootstrap": 100,
    "gallery": 3,
}  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, with a guard and what is known of its model and images beside it."""
    return once(tmp_path_factory.getbasetemp(), "site-example", _finish) / "run"


def _finish(folder: Path) -> None:
    """In this process: every other one would import everything again."""
    run = folder / "run"
    assessed(PLAN, run)
    data = next((run / "data").glob("*/manifest.parquet")).parent
    app.guard(run / "model", data, run / "guard.safetensors", rate=0.2, seed=1, device="cpu")
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(told):
        patch.setattr(describing, "call", here_instead)
        patch.setattr(sys, "argv", ["", str(data), "patient", "1"])
        model = app.describe(run / "model").model_dump(mode="json")
        example_facts.write()
    (run / example_facts.KEPT).write_text(json.dumps({"model": model, "data": json.loads(told.getvalue())}))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, finished: Path):
    """The server, with the run in project "Example"."""
    made = Site(tmp_path_factory.mktemp("site") / "home", "--example", str(finished))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def signed_in(site: Site, chromium) -> dict:
    """The state of a browser that is signed in as the administrator, who came by the one-time link."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(site.link)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password", exact=False).first.fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    page.locator("main button.primary").click()
    page.wait_for_url(lambda url: "/invite/" not in url)
    if "/login" in page.url:
        sign_in(page, site)
    state = context.storage_state()
    context.close()
    return state


def sign_in(page, site: Site) -> None:
    """By name and password."""
    page.goto(site.address + "/login")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("main button.primary").click()
    page.wait_for_url(lambda url: "/login" not in url)


@pytest.fixture
def page(site: Site, chromium, signed_in):
    """A page of the signed-in browser; what its console says must be nothing bad."""
    context = chromium.new_context(storage_state=signed_in, base_url=site.address, accept_downloads=True)
    shown = context.new_page()
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    shown.on("pageerror", lambda error: said.append(str(error)))
    yield shown
    context.close()
    assert said == []
