# SPDX-License-Identifier: Apache-2.0
"""A browser that is signed in as somebody of the house; what a page complains of fails the test."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from tests.api.conftest import House, Person

from radproof.api.app import create_app
from radproof.api.around import COOKIE

ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]


@pytest.fixture(name="chromium", scope="module")
def chromium_fixture() -> Iterator[Any]:
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
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(name="opened")
def opened_fixture(house: House, chromium: Any) -> Iterator[Callable[..., Any]]:
    """opened(person, path, scripts=True, width=1280) is a page; they leave when the test ends."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    address = f"http://localhost:{held.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(create_app(house.service), log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]})
    thread.start()
    complaints: list[str] = []
    contexts: list[Any] = []

    def opened(person: Person, path: str, *, scripts: bool = True, width: int = 1280) -> Any:
        context = chromium.new_context(java_script_enabled=scripts, viewport={"width": width, "height": 900})
        contexts.append(context)
        context.add_cookies([{"name": COOKIE, "value": person.client.cookies[COOKIE], "url": address}])
        page = context.new_page()
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    server.should_exit = True
    thread.join(20)
    held.close()
    assert complaints == []
