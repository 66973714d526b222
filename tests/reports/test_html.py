"""The page: whole, self-contained, honest and safe."""

import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from radproof.assess.finished import read_result
from radproof.core.records import Doubt, Estimate, canonical_json
from radproof.errors import BadInput
from radproof.reports.cards import cards
from radproof.reports.facts import methods, short_path
from radproof.reports.html import render, summary_rows, write_report
from radproof.reports.reading import Reading

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def parsed(page, elements):
    return elements(page)


def test_the_report_is_written_beside_its_result(finished, page):
    path = write_report(finished)
    assert path == finished / "report.html"
    assert path.read_text(encoding="utf-8") == page
    assert sorted(p.name for p in finished.iterdir()) == ["gallery", "report.html", "result.json"]


def test_equal_results_give_equal_bytes(result, finished, page):
    assert render(read_result(finished), finished) == page


def test_it_needs_nothing_else(page, parsed):
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "audio", "video"}
    for tag, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "srcset", "poster", "data", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert not re.search(r"url\(|@import|https?://", page)


def test_the_policy_forbids_everything_but_what_it_holds(parsed):
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_links_lead_to_something(parsed):
    ids = {a["id"] for _, a in parsed.elements if "id" in a}
    links = {a["href"][1:] for tag, a in parsed.elements if tag == "a"}
    assert links <= ids
    assert {"words", "doubts", "attacks", "defences", "pictures", "detection", "plan"} <= links


def test_the_first_thing_read_is_the_verdict(result, parsed):
    text = parsed.text
    at = [text.index(part) for part in (result.title, result.verdict.split(";")[0], "Right on clean images")]
    assert at == sorted(at)
    assert text.index("In plain words", at[-1]) < text.index("How to reproduce")


def test_every_key_figure_stands_with_its_interval_and_sample(reading, parsed):
    for card in cards(reading):
        assert f"{card.shown.value} {card.shown.interval}" in parsed.text
        assert card.sample in parsed.text


def test_every_doubt_is_told_and_printed_again_beside_its_figure(result, page):
    for doubt in result.doubts:
        told = page.replace("\xa0", " ").replace("&#39;", "'")
        assert told.count(doubt.message) >= 2  # in the list, and where it concerns
    assert page.count("not established") > 6


def test_a_clear_result_carries_no_doubt_marks(result, finished, elements):
    page = elements(render(result.model_copy(update={"doubts": ()}), finished)).text
    assert "D1" not in page.replace("A mark such as D1", "")
    assert page.count("not established") == 0


def test_phantoms_are_called_so_everywhere(page, result, finished):
    assert page.count("PHANTOM DATA") >= 3  # band, footer, head of every printed page
    real = render(result.model_copy(update={"phantom": False}), finished)
    assert "phantom" not in re.sub(r"\.phantom|kind: phantom|>phantom<", "", real).lower()


def test_every_picture_has_an_alternative_text_and_a_size(parsed):
    images = [a for tag, a in parsed.elements if tag == "img"]
    assert len(images) == 12
    assert all(a["alt"] and a["width"] and a["height"] for a in images)
    drawings = [a for tag, a in parsed.elements if tag == "svg"]
    assert all(a.get("aria-label") or a.get("aria-hidden") == "true" for a in drawings)


def test_headings_never_skip_a_level(parsed):
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_hostile_names_stay_text(result, finished, elements):
    labels = (HOSTILE, *result.labels[1:])
    picture = result.gallery[0].model_copy(update={"truth": HOSTILE, "attack": '"><img src=x onerror=alert(1)>'})
    cells = tuple(c.model_copy(update={"attack": HOSTILE}) if c.attack == "sia" else c for c in result.cells)
    doubts = (Doubt(kind=HOSTILE, about="all", message=f'"{HOSTILE}'),)
    bad = result.model_copy(
        update={
            "title": HOSTILE,
            "verdict": HOSTILE,
            "labels": labels,
            "gallery": (picture,),
            "cells": cells,
            "doubts": doubts,
            "model": {HOSTILE: HOSTILE, "architecture": HOSTILE},
            "plan": {"title": f"</pre>{HOSTILE}"},
            "by_view": {HOSTILE: result.by_view["PA"]},
        }
    )
    page = render(bad, finished)
    assert HOSTILE not in page
    parsed = elements(page)
    assert "script" not in {tag for tag, _ in parsed.elements}
    assert not [a for _, a in parsed.elements if any(name.startswith("on") for name in a)]
    assert HOSTILE in parsed.text


def test_paths_of_the_machine_stay_private(page):
    assert "/home/someone" not in page
    assert "…/images" in page


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/a/b.yaml", "…/b.yaml"),
        (r"C:\Users\a\b", "…/b"),
        (r"\\host\a", "…/a"),
        ("cpu", "cpu"),
        ("4/255", "4/255"),
    ],
)
def test_absolute_paths_are_shortened(given, shown):
    assert short_path(given) == shown


def test_the_plan_reads_as_people_write_it(parsed):
    assert "name: demo seed: 0 data:" in parsed.text
    assert "budgets: - 1/255 - 4/255" in parsed.text
    assert "radproof assess plan.yaml --out runs/demo" in parsed.text


def test_what_was_not_measured_is_a_dash_with_its_reason(result, finished, elements):
    empty = Estimate(value=None, low=None, high=None, method="m", n=0)
    cells = tuple(
        c.model_copy(update={"scores": c.scores.model_copy(update={"macro_auroc": empty})}) for c in result.cells
    )
    assert "– no images to measure on" in elements(render(result.model_copy(update={"cells": cells}), finished)).text


def test_a_result_with_nothing_but_clean_images_is_a_report_too(result, finished, elements):
    bare = result.model_copy(
        update={
            "cells": result.cells[:1],
            "smallest": None,
            "detection": (),
            "paired": (),
            "shortcuts": (),
            "by_view": {},
            "gallery": (),
            "doubts": (),
            "training": None,
            "audit": {},
        }
    )
    text = elements(render(bare, finished)).text
    assert "78 % (70–86)" in text
    assert "Defences" not in text


def test_long_lists_are_cut_short(result, finished, elements):
    audit = {"twins": [{"ids": [f"{k:04x}"]} for k in range(500)], "constant": [f"id{k}" for k in range(90)]}
    text = elements(render(result.model_copy(update={"audit": audit}), finished)).text
    assert "and 480 more" in text
    assert "and 70 more" in text
    assert "id19" in text
    assert "id20" not in text


def test_the_ways_of_making_intervals_are_all_named(result, parsed):
    found = methods(result.model_dump(mode="json"))
    assert found == ["cluster bootstrap over patients, 2000 draws, 95 %", "Clopper-Pearson over patients, 95 %"]
    assert all(one.replace(" %", "\xa0%") in "".join(parsed.words) for one in found)


def test_six_noisy_rows_stay_within_three_megabytes(result, tmp_path):
    rng = np.random.default_rng(0)
    files = {}
    for kind in ("original", "attacked", "defended", "difference"):
        files[kind] = f"{kind}.png"
        smooth = np.linspace(40, 200, 512)[None].repeat(512, 0) + rng.normal(0, 6, (512, 512))
        noise = rng.choice([28, 128, 228], (512, 512))
        Image.fromarray((noise if kind == "difference" else smooth).astype(np.uint8)).save(tmp_path / files[kind])
    for kind in ("cam_before", "cam_after"):
        files[kind] = f"{kind}.png"
        colours = rng.integers(0, 256, (512, 512, 3)) // 8 + 100
        Image.fromarray(colours.astype(np.uint8)).save(tmp_path / files[kind])
    gallery = tuple(result.gallery[0].model_copy(update={"files": files}) for _ in range(6))
    assert len(render(result.model_copy(update={"gallery": gallery}), tmp_path).encode()) < 3_000_000


def test_the_summary_is_the_same_for_page_and_command_line(result):
    rows = summary_rows(result)
    assert len(rows) == len({tuple(row.values()) for row in rows})
    assert rows[-1]["attack"] == "block_transform"
    assert rows == summary_rows(Reading(result).result)


def test_a_folder_without_a_result_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(BadInput, match=r"no result\.json .* finish it with `radproof assess`"):
        write_report(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 1}', "{" * 1000])
def test_a_broken_result_is_refused(tmp_path, content):
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=r"result\.json is no result of schema version 1"):
        write_report(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_an_unknown_key_is_refused_by_name(result, tmp_path):
    text = canonical_json({**result.model_dump(mode="json"), "surprise": 1})
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="surprise"):
        read_result(tmp_path)
