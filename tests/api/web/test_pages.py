# SPDX-License-Identifier: Apache-2.0
"""Every page renders for every role, shows strangers' words as words, and links to pages that are there."""

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from tests.api.conftest import House
from tests.api.web.conftest import HOSTILE, Full

ROLES = ("viewer", "clinician", "developer", "admin")
PLAIN = ("/", "/models", "/data", "/runs")
FORMS = ("/models/new", "/data/new", "/assess")
PHRASING = {"script": {"src"}, "link": {"href"}}


class Read(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def links(self) -> set[str]:
        """Where a click or a form leads."""
        told = {a.get("href", "") for tag, a in self.tags if tag in ("a", "link")}
        return {one for one in told if one and not one.startswith("#")}


def check_plain(text: str) -> None:
    """No script, style or handler stands in the page itself, and no address is a script."""
    for tag, attributes in Read(text).tags:
        assert tag != "style", "a style in the page"
        assert tag != "script" or attributes.get("src", "").startswith("/static/"), "a script in the page"
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has {name}"
            assert name != "style", f"{tag} has a style"
            if name in ("href", "src", "action", "formaction", "hx-get", "hx-post", "data-events"):
                assert value.startswith(("/", "#")) and not value.startswith("//"), f"{tag} leads to {value[:40]}"
    assert "<script>alert" not in text
    assert "49" not in re.findall(r"javascript:z (\S+)", text), "a name was taken for a template"


@pytest.mark.parametrize("role", ROLES)
def test_every_page_renders_in_an_empty_project(house: House, role: str) -> None:
    person = house.person(role)
    for address in PLAIN:
        found = person.client.get(address)
        assert found.status_code == 200, address
        check_plain(found.text)
        assert found.text.count("<h1") == 1
    for address in FORMS:
        assert person.client.get(address).status_code == (200 if role in ("developer", "admin") else 403), address


@pytest.mark.parametrize("role", ROLES)
def test_every_page_renders_in_a_full_project(house: House, pages: Callable[[], list[str]], role: str) -> None:
    person = house.person(role)
    for address in pages():
        found = person.client.get(address)
        wanted = 404 if "nothing" in address else 200
        if address in FORMS and role in ("viewer", "clinician"):
            wanted = 403
        assert found.status_code == wanted, address
        check_plain(found.text)
        assert found.text.count("<h1") == 1, address
        assert "Not for diagnosis" in found.text
        title = re.findall("<title>(.*?)</title>", found.text)
        assert len(title) == 1 and "script" not in title[0], "a stranger's words stand in the browser's title"


def test_stored_xss_by_names_cards_classes_and_notes_is_shown_as_words(
    house: House, pages: Callable[[], list[str]], full: Full
) -> None:
    person = house.person("developer")
    told = "".join(person.client.get(address).text for address in pages())
    assert told.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 20
    assert HOSTILE not in told
    for address in (f"/models/{full.model}", f"/data/{full.data}", f"/runs/{full.running}"):
        assert "&lt;script&gt;" in person.client.get(address).text


def test_every_link_leads_somewhere(house: House, full: Full) -> None:
    person = house.person("developer")
    waiting, seen = ["/"], set[str]()
    finished = {f"/runs/{full.done}", f"/runs/{full.earlier}"}  # they have no files here
    while waiting:
        address = waiting.pop()
        if address in seen or address.startswith("/api/") or address in finished:
            continue
        seen.add(address)
        found = person.client.get(address)
        assert found.status_code < 400, f"{address} answers {found.status_code}"
        if found.headers["content-type"].startswith("text/html"):
            waiting += Read(found.text).links()
    assert {"/models", "/data", "/assess", "/runs", f"/models/{full.model}", f"/data/{full.data}"} <= seen


def test_every_form_has_its_token_and_a_route(house: House, pages: Callable[[], list[str]]) -> None:
    person = house.person("developer")
    asked = set[str]()
    for address in pages():
        text = person.client.get(address).text
        for form in re.findall(r"<form\b.*?</form>", text, re.DOTALL):
            method = "POST" if 'method="post"' in form else "GET"
            action = re.findall(r'action="([^"]*)"', form)[0]
            if method == "POST":
                assert f'name="csrf_token" value="{person.csrf}"' in form, f"{action} at {address}"
            asked.add(action)
    for action in asked:  # a method that nobody offers changes nothing, and tells whether the address is there
        assert person.client.put(action).status_code == 405, f"nothing answers at {action}"
    assert {"/assess", "/models/new", "/data/new", "/logout", "/compare"} <= asked


def test_navigation_shows_what_a_role_may_do(house: House) -> None:
    shown = {role: house.person(role).client.get("/").text for role in ROLES}
    assert 'href="/assess"' not in shown["viewer"] and 'href="/screen"' not in shown["viewer"]
    assert 'href="/screen"' in shown["clinician"] and 'href="/assess"' not in shown["clinician"]
    assert 'href="/assess"' in shown["developer"] and 'href="/admin"' not in shown["developer"]
    assert 'href="/admin"' in shown["admin"]


def test_what_is_said_comes_from_a_list(house: House) -> None:
    client = house.person().client
    assert "Removed." in client.get("/models?said=removed").text
    assert "evil" not in client.get("/models?said=evil").text


def test_idor_pages_of_another_project_are_not_there(house: House, full: Full) -> None:
    stranger = house.person("admin", project="other")
    for address in (f"/models/{full.model}", f"/data/{full.data}", f"/runs/{full.running}", f"/runs/{full.done}"):
        assert stranger.client.get(address).status_code == 404
    for address in ("/", "/models", "/data", "/runs", f"/runs?model={full.model}", f"/assess?model={full.model}"):
        text = stranger.client.get(address).text
        assert full.data not in text and f"/models/{full.model}" not in text and full.running not in text
    for action in (f"/models/{full.model}/rename", f"/models/{full.model}/remove", f"/data/{full.data}/remove",
                   f"/runs/{full.running}/cancel", f"/runs/{full.stopped}/remove", f"/models/{full.model}/guards/{full.guard}/remove"):  # fmt: skip  # noqa: E501
        assert stranger.client.post(action, data={"name": "x"}).status_code == 404, action
