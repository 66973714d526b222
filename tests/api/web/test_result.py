# SPDX-License-Identifier: Apache-2.0
"""The pages of a result: their figures are result.json's, strangers' words stay words, nothing of another is seen."""

import json
import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from tests.api.conftest import House, Person
from tests.api.seeded import Seeds, finished_run, seed
from tests.api.web.results import HOSTILE, hostile
from tests.api.web.test_pages import Read, check_plain

from radproof.api.results.caching import BoundedCache
from radproof.api.results.chosen import choose, ladders, steps
from radproof.api.results.comparing import _reason, compare, read
from radproof.api.results.showing import showing
from radproof.assess.result import Result
from radproof.reports.reading import Reading, still_right
from radproof.reports.summary import summary_rows
from radproof.reports.words import show
from radproof.store.tables import Run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def reading(folder: Path) -> Reading:
    return Reading(Result.model_validate_json((folder / "result.json").read_bytes()))


@pytest.fixture
def seeds(house: House, folder: Path) -> Seeds:
    return seed(house, folder)


@pytest.fixture
def viewer(house: House) -> Person:
    return house.person("viewer")


def text(page: str) -> str:
    """What a reader sees, spaces as one."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page))).replace("\u00a0", " ")


def get(person: Person, address: str) -> str:
    found = person.client.get(address)
    assert found.status_code == 200, f"{address}: {found.status_code}"
    return found.text


def test_budget_slider_figures_are_those_of_the_result(viewer: Person, seeds: Seeds, reading: Reading) -> None:
    page = get(viewer, f"/runs/{seeds.run}")
    table = page[page.index('class="all-budgets"') :]
    table = table[: table.index("</table>")]
    for name in ("none", *reading.defenses):
        for rung in reading.budgets:
            cell = reading.headline(name, reading.goal, rung.eps)
            assert str(show(still_right(cell))) in text(table)
        clean = reading.clean(name)
        assert clean is not None and str(show(clean.scores.accuracy)) in text(table)
    assert f'max="{len(reading.budgets)}"' in page


def test_budget_without_javascript_by_link(viewer: Person, seeds: Seeds, reading: Reading) -> None:
    page = get(viewer, f"/runs/{seeds.run}")
    links = [one for one in Read(page).links() if "?budget=" in one]
    assert len(links) == len(reading.goals) * len(steps(reading))
    last = reading.budgets[-1]
    found = get(viewer, f"/runs/{seeds.run}?budget={last.label}")
    now = text(found[found.index('class="now"') : found.index('class="all-budgets"')])
    assert str(show(still_right(reading.headline("none", reading.goal, last.eps)))) in now
    assert f"Class by class at {last.label}" in text(found)


def test_summary_table_is_the_reports_row_by_row(viewer: Person, seeds: Seeds, reading: Reading) -> None:
    page = get(viewer, f"/runs/{seeds.run}")
    body = page[page.index('<table class="summary">') :]
    body = body[body.index("<tbody>") : body.index("</tbody>")]
    found = [
        [text(box).strip() for box in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in body.split("</tr>")
    ]
    expected = [
        [r["attack"], r["budget"], r["defence"] or "none", r["column"], r["still right"], r["success"], r["n"]]
        for r in summary_rows(reading)
    ]
    assert [row for row in found if row] == expected


def test_classes_and_confusions_are_those_of_the_chosen_cells(viewer: Person, seeds: Seeds, reading: Reading) -> None:
    rung, best = reading.budgets[-1], reading.defenses[0]
    found = get(viewer, f"/runs/{seeds.run}/moment?step={len(reading.budgets)}&defence={best}")
    check_plain(found)
    cells = [
        reading.clean(),
        reading.headline("none", reading.goal, rung.eps),
        reading.headline(best, reading.goal, rung.eps),
    ]
    for part, cell in zip(found.split('class="moment"')[1:], cells, strict=True):
        assert cell is not None
        for one in cell.scores.per_class:
            for estimate, kind in ((one.precision, "share"), (one.recall, "share"), (one.f1, "score")):
                assert str(show(estimate, kind)) in text(part)
        matrix = part[part.index('class="matrix"') :]
        counts = [int(n) for n in re.findall(r'<td class="(?:right|wrong) h\d">(\d+)</td>', matrix)]
        assert counts == [n for row in cell.scores.confusion or () for n in row]


def test_page_holds_everything_of_the_report(viewer: Person, seeds: Seeds, reading: Reading) -> None:
    page = get(viewer, f"/runs/{seeds.run}")
    check_plain(page)
    words = text(page)
    for doubt in reading.result.doubts:
        assert text(doubt.message) in words
    for gate in reading.result.gates:
        assert text(gate.message) in words and gate.verdict in words
    for part in ("summary", "attacks", "defences", "curves", "model", "standards", "plan", "gates", "score"):
        assert f'id="{part}"' in page
    links = Read(page).links()
    for form in ("html", "json", "csv", "md", "junit.xml", "sarif"):
        assert f"/api/v1/runs/{seeds.run}/report.{form}" in links
    assert f"/runs/{seeds.run}/report" in links
    assert "PHANTOM DATA" in words
    assert words.index("Verdict") < words.index("Score vector") < words.index("How strong may the attacker be")


def test_downloads_name_only_files_that_are_there(viewer: Person, seeds: Seeds, house: House) -> None:
    there = house.service.settings.folder("runs", seeds.run)
    (there / "gate.sarif").unlink()
    links = Read(get(viewer, f"/runs/{seeds.run}")).links()
    assert f"/api/v1/runs/{seeds.run}/report.junit.xml" in links
    assert f"/api/v1/runs/{seeds.run}/report.sarif" not in links
    assert f"/api/v1/runs/{seeds.run}/report.pdf" not in links
    (there / "report.pdf").write_bytes(b"%PDF-")
    assert f"/api/v1/runs/{seeds.run}/report.pdf" in Read(get(viewer, f"/runs/{seeds.run}")).links()


def test_unknown_choices_stay_at_their_default(reading: Reading) -> None:
    default = choose(reading, {})
    assert choose(reading, {"goal": "x", "budget": "9/255", "defence": "<b>", "step": "²"}) == default
    assert choose(reading, {"step": "999"}).step == len(reading.budgets)
    assert choose(reading, {"budget": "clean"}).step == 0
    assert choose(reading, {"defence": "none"}).defense == "none"
    assert {len(boxes) for one in ladders(reading) for _, boxes in one.rows} == {len(steps(reading))}


def test_result_is_drawn_anew_when_its_file_changes(viewer: Person, seeds: Seeds, house: House) -> None:
    path = house.service.settings.folder("runs", seeds.run) / "result.json"
    get(viewer, f"/runs/{seeds.run}")
    told = json.loads(path.read_text())
    path.unlink()  # it is a link to the shared run's
    path.write_text(json.dumps(told | {"verdict": "Another verdict"}))
    os.utime(path, ns=(1, 1))
    assert "Another verdict" in get(viewer, f"/runs/{seeds.run}")


def test_damaged_result_is_told_without_a_path(viewer: Person, seeds: Seeds, house: House) -> None:
    path = house.service.settings.folder("runs", seeds.run) / "result.json"
    path.unlink()
    path.write_text("{}")
    found = viewer.client.get(f"/runs/{seeds.run}")
    assert found.status_code == 409 and str(house.service.settings.home) not in found.text


def test_web_api_stored_xss_by_class_name_stays_text(
    viewer: Person, house: House, folder: Path, tmp_path: Path
) -> None:
    seeds = hostile(house, folder, tmp_path)
    images = viewer.client.get(f"/api/v1/runs/{seeds.run}/images").json()["items"]
    one = next(one for one in images if HOSTILE in one["truth"])
    for address in ("", "/images?outcome=", f"/images/{one['id']}", "/moment"):
        page = get(viewer, f"/runs/{seeds.run}{address}")
        check_plain(page)
        assert "&lt;script&gt;alert" in page
    check_plain(get(viewer, f"/compare?a={seeds.run}"))


def test_web_api_idor_pages_of_another_project_are_not_found(house: House, seeds: Seeds, viewer: Person) -> None:
    image = viewer.client.get(f"/api/v1/runs/{seeds.run}/images").json()["items"][0]["id"]
    other = house.person("admin", project="other")
    for address in (
        f"/runs/{seeds.run}",
        f"/runs/{seeds.run}/moment",
        f"/runs/{seeds.run}/images",
        f"/runs/{seeds.run}/images/{image}",
        f"/compare?a={seeds.run}",
        f"/compare?a={seeds.model}",
    ):
        assert viewer.client.get(address).status_code == 200, address
        assert other.client.get(address).status_code == 404, address


def test_gallery_counts_filters_and_pages(viewer: Person, seeds: Seeds) -> None:
    told = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?defense=none&limit=100").json()
    page = get(viewer, f"/runs/{seeds.run}/images?defense=none")
    assert f"{told['total']} images" in text(page)
    for facet in told["facets"]["budget"]:
        assert f"{facet['value']} ({facet['count']})" in text(page)
    shown = [a for tag, a in Read(page).tags if tag == "img"]
    assert [a["src"].split("/")[-2] for a in shown] == [one["id"] for one in told["items"][: len(shown)]]
    assert all(a["loading"] == "lazy" for a in shown)
    first = told["items"][0]
    assert f"truth {first['truth']}" in shown[0]["alt"] and first["attacked_answer"] in shown[0]["alt"]


def test_gallery_without_a_query_shows_what_fooled_the_bare_model(viewer: Person, seeds: Seeds) -> None:
    told = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?defense=none&outcome=fooled").json()
    shown = [a["src"].split("/")[-2] for tag, a in Read(get(viewer, f"/runs/{seeds.run}/images")).tags if tag == "img"]
    assert shown == [one["id"] for one in told["items"][: len(shown)]]


def test_gallery_pages_follow_one_another(viewer: Person, seeds: Seeds) -> None:
    address, seen = f"/runs/{seeds.run}/images?outcome=", []
    while address:
        page = Read(get(viewer, address))
        seen += [a["src"].split("/")[-2] for tag, a in page.tags if tag == "img"]
        address = next((a["href"] for tag, a in page.tags if tag == "a" and a.get("rel") == "next"), "")
    total = viewer.client.get(f"/api/v1/runs/{seeds.run}/images").json()["total"]
    assert len(seen) == len(set(seen)) == total


def test_viewer_tells_the_facts_of_its_row(viewer: Person, seeds: Seeds, reading: Reading) -> None:
    told = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?defense=none&limit=100").json()["items"]
    shown = {(one.sample, one.attack, one.budget) for one in reading.result.gallery}
    for one in (told[0], next((o for o in told if (o["sample"], o["attack"], o["budget"]) in shown), told[1])):
        page = get(viewer, f"/runs/{seeds.run}/images/{one['id']}?defense=none")
        check_plain(page)
        words = text(page)
        assert f"Truth {one['truth']}" in words
        assert f"{one['attacked_answer']}, {100 * one['attacked_confidence']:.1f} % sure" in words
        assert f"{255 * one['linf']:.2g}/255" in words and "Attacked: pgd" in words
        kinds = {a["data-kind"] for tag, a in Read(page).tags if tag == "img"}
        assert kinds == set(one["kinds"])
        links = {a["href"] for tag, a in Read(page).tags if tag == "a" and "draw=" in a.get("href", "")}
        own = f"/runs/{seeds.run}/images/{one['id']}?defense=none"
        assert links == {f"{own}&draw={kind}#still" for kind in one["drawn"]}
        assert ("drawn when you choose it" in words) == bool(one["drawn"]) and "before, for " + one["truth"] in words
        assert "Rounded to the stored grey levels" in words and re.search(r"\b[0-9a-f]{64}\b", words)


def test_viewer_goes_on_within_the_filter(viewer: Person, seeds: Seeds) -> None:
    told = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?defense=none&budget=16/255").json()["items"]
    page = Read(get(viewer, f"/runs/{seeds.run}/images/{told[1]['id']}?defense=none&budget=16/255"))
    links = {a.get("rel"): a["href"] for tag, a in page.tags if tag == "a" and a.get("rel")}
    assert told[0]["id"] in links["prev"] and told[2]["id"] in links["next"]
    assert "defense=none" in links["next"] and links["next"].endswith("#stage")


def test_unknown_image_is_not_found(viewer: Person, seeds: Seeds) -> None:
    for name in ("0" * 16 + "-" + "0" * 8, "..%2f..%2fsecret", "x"):
        assert viewer.client.get(f"/runs/{seeds.run}/images/{name}").status_code == 404


def test_comparison_of_a_run_with_itself_differs_nowhere(house: House, seeds: Seeds, reading: Reading) -> None:
    found = compare(house.service.settings, seeds.run, seeds.run)
    assert not found.refused and found.on == f"{reading.result.images} images of {reading.result.patients} patients"
    assert found.lines and not any(line.differs or line.only_a or line.only_b for line in found.lines)
    clean = reading.clean()
    assert clean is not None and str(show(clean.scores.accuracy)) == str(found.lines[0].a)


def test_comparison_without_common_images_says_why_and_names_no_path(
    house: House, seeds: Seeds, viewer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = f"noise\nradproof: {seeds.run} holds 8 images, x 9, and they share 0; a comparison needs the same images"
    assert _reason(told).startswith(seeds.run)

    def refused(*_: object) -> object:
        return replace(read({"rows": [], "differences": [], "left_out": 0, "confidence": 0.95, "images": 0,
                             "patients": 0}), refused="they share 0 images")  # fmt: skip

    monkeypatch.setattr("radproof.api.results.comparing.compare", refused)
    page = text(get(viewer, f"/compare?a={seeds.run}&b={seeds.model}"))
    assert "cannot be compared: they share 0 images" in page and "Key figures" in page


def test_comparison_that_takes_long_is_asked_for_again(
    viewer: Person, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radproof.api.results.comparing.Comparisons.get", lambda *_: None)
    page = get(viewer, f"/compare?a={seeds.run}&b={seeds.run}")
    check_plain(page)
    again = f"/compare?a={seeds.run}&b={seeds.run}"
    assert again in Read(page).links() and "being compared" in text(page)
    assert any(a.get("hx-get") == again and a["hx-select"] == "#difference" for _, a in Read(page).tags)


def test_compare_asks_for_the_second_run(viewer: Person, seeds: Seeds) -> None:
    assert "Choose the other run" in text(get(viewer, f"/compare?a={seeds.run}"))
    assert viewer.client.get("/compare?a=run_nothing").status_code == 404


def test_only_the_last_things_are_kept() -> None:
    made: list[int] = []
    kept: BoundedCache[int] = BoundedCache(2, 100, lambda _: 1)
    for key in (1, 2, 1, 3, 1, 2):
        kept.get(key, lambda key=key: made.append(key) or key)
    assert made == [1, 2, 3, 2]


def test_result_is_read_once(house: House, seeds: Seeds) -> None:
    with house.service.database.reading() as session:
        run = session.get(Run, seeds.run)
        assert run is not None
        assert showing(house.service.settings, run) is showing(house.service.settings, run)
