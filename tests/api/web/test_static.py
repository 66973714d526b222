# SPDX-License-Identifier: Apache-2.0
"""Files of the pages: only listed ones, for ever, and what is vendored is what it says."""

import hashlib
import json
import re
from importlib.resources import files

import pytest
from tests.api.conftest import House

from radproof.api.http.render import static_url

STATIC = files("radproof.api") / "static"


def test_files_are_kept_for_ever_with_their_media_type(house: House) -> None:
    client = house.person().client
    for name, media in (("app.css", "text/css"), ("app.js", "text/javascript"), ("mark.svg", "image/svg+xml")):
        found = client.get(static_url(name))
        assert found.status_code == 200 and found.headers["content-type"].startswith(media)
        assert "immutable" in found.headers["cache-control"]


@pytest.mark.parametrize(
    "address",
    [
        "/static/0000000000000000/app.css",
        "/static/x/../render.py",
        "/static/x/%2e%2e/render.py",
        "/static/x/..%2f..%2frender.py",
        "/static/x/vendor/vendor.json",
        "/static/x//etc/passwd",
        "/static/x/app.css%00.js",
        "/static/x/..%5crender.py",
    ],
)
def test_traversal_and_other_versions_are_not_found(house: House, address: str) -> None:
    assert house.person().client.get(address).status_code in (400, 404)


def test_vendored_files_are_those_of_their_release() -> None:
    told = json.loads((STATIC / "vendor" / "vendor.json").read_text())
    listed = {"vendor.json"}
    for one in told:
        assert one["name"] and one["version"] and one["licence"]
        for name, sha256 in one["files"].items():
            listed.add(name)
            assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == sha256, name
    assert {path.name for path in (STATIC / "vendor").iterdir()} == listed, "a vendored file that nothing vouches for"


def test_nothing_comes_from_elsewhere() -> None:
    for folder in (files("radproof.api") / "templates", STATIC):
        for path in folder.rglob("*"):  # pyright: ignore
            if path.is_file() and path.suffix in (".j2", ".css", ".js") and "vendor" not in path.parts:
                text = path.read_text().replace("http://www.w3.org/", "")
                assert not re.search(r"(?:src|href|url|import|fetch)\W{1,3}(?:https?:)?//", text), path.name


def test_the_style_has_both_themes_and_every_agreed_name() -> None:
    text = (STATIC / "app.css").read_text()
    assert "prefers-color-scheme: dark" in text
    for name in ("--ink", "--paper", "--line", "--muted", "--accent", "--ok", "--warn", "--bad", "--info", "--surface"):
        assert text.count(f"{name}:") >= 2, name
    for name in ("card", "grid", "table", "button.primary", "button.danger", "badge.ok", "badge.warn", "badge.bad",
                 "badge.info", "field", "tabs", "note", "doubt", "muted", "visually-hidden", "toolbar", "stack",
                 "split", "progress", "scroll"):  # fmt: skip
        assert f".{name}" in text, name
