"""Fixtures for everyone: one thread, the shared folder, a browser, small images and a small classifier."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that tests start: several at a time share the cores

# Tests never judge by the clock, and the same examples are tried everywhere.
settings.register_profile("radproof", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("radproof")


BROWSER = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file begins first: at the end one process would wait for it."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/site/"))


def pytest_collection_finish() -> None:
    """What has been imported stays until the end: the collector need not look through a million objects again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")  # playwright keeps a loop of its own running, which other modules must not meet
def chromium() -> Iterator[Any]:
    """Debian's browser; a skip without it, a failure in continuous integration."""
    path = shutil.which("chromium")
    missing = "needs Chromium (apt-get install chromium) and the playwright package"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real radiographs and weights, or a skip that says so."""
    folder = Path(os.environ.get("RADPROOF_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("no shared data beside the project (set RADPROOF_SHARED)")
    return folder
