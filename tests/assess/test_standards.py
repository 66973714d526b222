# SPDX-License-Identifier: Apache-2.0
"""Findings and the clauses they support evidence for."""

import re
from pathlib import Path

import pytest
import yaml

from radproof.assess.detected import Detection, DetectionRow
from radproof.assess.frameworks import ATLAS, ATLAS_VERSION, CLAUSES, FRAMEWORKS, OUTSIDE, Clauses
from radproof.assess.result import Certified, CertifiedAt, CorruptionSummary, Result
from radproof.assess.standards import standards
from radproof.core.records import Doubt, Estimate

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "standards.md"


def bounds(value):
    return Estimate(value=value, low=value, high=value, method="m", n=9)


def finished(*cells, **given):
    usual = {"doubts": (), "detection": (), "corruptions": (), "smallest": None, "certified": None, "plan": {}}
    return Result.model_construct(cells=cells, **usual | given)


@pytest.fixture
def attacked(cell, clean):
    """White-box, transfer, query and patch attacks with the headline that joins those within the budget."""

    def made(attack, success, column="oblivious", **more):
        of = {"made_on": "model", "threat": "linf", "backwards": 10.0} | more
        one = cell(attack=attack, column=column, success=success, robust=1 - success, defense=of.pop("defense", "none"))
        return one.model_copy(update={**of, "key": f"{one.key} {of['made_on']}"})

    return lambda: [
        clean(),
        made("pgd", 0.8),
        made("sia", 0.6),
        made("pgn", 0.3, "transfer", made_on="resnet50"),
        made("square", 0.4, backwards=0.0),
        made("patch", 0.7, threat="patch"),
        made("worst", 0.9, "headline"),
    ]


def by_kind(result, files=None):
    return {row.kind: row for row in standards(result, files or {})}


# The frameworks


def test_ids_and_titles_are_those_of_the_stored_release(shared):
    path = shared / "standards" / "ATLAS.yaml"
    if not path.is_file():
        pytest.skip("no copy of ATLAS beside the shared data")
    release = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    matrix = release["matrices"][0]
    known = {one["id"]: one["name"] for one in (*matrix["techniques"], *matrix["mitigations"])}
    assert release["version"] == ATLAS_VERSION
    assert {name: known.get(name) for name in ATLAS} == ATLAS


def test_every_id_that_is_used_is_listed_and_none_is_idle():
    used = {name for clauses in CLAUSES.values() for name in clauses.atlas}
    used |= {name for _, names, _ in OUTSIDE for name in names}
    used |= {"AML.M0006"}  # of ensembles alone
    assert used == set(ATLAS)


def test_nothing_claims_conformity():
    words = " ".join(" ".join(map(str, clauses)) for clauses in CLAUSES.values())
    page = re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))
    words += page.replace("No row says that a product complies", "")
    assert not re.search(r"compl(y|ies|iant)|conforms|certified (to|for)", words.lower())


def test_the_page_lists_every_clause_and_the_version():
    text = PAGE.read_text(encoding="utf-8")
    lines = [line for line in text.split("## Outside")[0].splitlines() if line.startswith("| ")][1:]
    told = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    expected = [
        [c.title, ", ".join(c.atlas) or "–", *(value or "–" for value in (c.nist, c.eu, c.fda, c.iec, c.iso))]
        for c in CLAUSES.values()
    ]
    assert told == expected
    assert f"ATLAS {ATLAS_VERSION}" in text
    assert all(title in text for title, _, _ in OUTSIDE)
    assert set(FRAMEWORKS) == set(Clauses._fields) - {"title"}


# Findings


def test_each_kind_of_attacker_is_told_by_its_strongest_attack(attacked):
    found = by_kind(finished(*attacked()))
    assert {kind: row.estimate.value for kind, row in found.items() if row.estimate} == {
        "accuracy": 0.9,
        "white_box": 0.8,
        "transfer": 0.3,
        "query": 0.4,
        "other": 0.7,
    }
    assert found["white_box"].about == "pgd, 4/255"
    assert found["transfer"].about == "pgn, 4/255, made on resnet50"
    assert "AML.T0043.002" in found["transfer"].atlas
    assert "AML.T0043.001" in found["query"].atlas
    assert "AML.T0043.000" not in found["query"].atlas


def test_missed_findings_are_told_where_they_can_be(attacked):
    cells = attacked()
    cells[-1] = cells[-1].model_copy(
        update={"scores": cells[-1].scores.model_copy(update={"missed_findings": bounds(0.4)})}
    )
    assert by_kind(finished(*cells))["missed"].estimate.value == 0.4
    assert "AML.T0048.003" in by_kind(finished(*cells))["missed"].atlas


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({}, "AML.M0010"),
        ({"hardened": {"jpeg": {"train": {}}}}, "AML.M0003"),
        ({"hardened": {"jpeg": {"of": ["a", "b"]}}}, "AML.M0006"),
    ],
)
def test_a_defence_is_told_by_its_headline_under_the_mitigation_it_is(attacked, clean, cell, plan, expected):
    headline = cell(attack="worst", column="headline", defense="jpeg", robust=0.2, success=0.8)
    before = clean(defense="jpeg")
    row = by_kind(finished(*attacked(), before, headline, plan=plan))["defense"]
    assert (row.estimate.value, row.atlas) == (0.2, (expected,))


def test_detectors_and_corruptions(attacked):
    rows = tuple(
        DetectionRow(
            detector="d",
            attack=attack,
            budget="4/255",
            eps=4 / 255,
            positives="successful",
            auroc=bounds(0.9),
            detected=bounds(seen),
            undetected_success=bounds(0.1),
            roc=(),
        )
        for attack, seen in (("pgd", 0.9), ("sia", 0.2))
    )
    one = Detection(
        detector="d", threshold=0.1, promised_rate=0.05, calibration_images=99, achieved_rate=bounds(0.0), rows=rows
    )
    kept = bounds(0.7)
    summary = CorruptionSummary(
        defense="none", clean=kept, rows=(), accuracy=kept, error=kept, kept=kept, relative_error=None, reference=""
    )
    found = by_kind(finished(*attacked(), detection=(one,), corruptions=(summary,)))
    assert (found["detection"].estimate.value, "sia" in found["detection"].about) == (0.2, True)
    assert found["corruption"].atlas == ()
    assert "15(4)" in found["corruption"].clauses.eu
    refused = one.model_copy(update={"threshold": None})
    assert "detection" not in by_kind(finished(*attacked(), detection=(refused,)))


def certified(network, *curve):
    points = tuple(CertifiedAt(radius=radius, accuracy=bounds(share)) for radius, share in curve)
    return Certified.model_construct(network=network, sigma=0.25, accuracy=bounds(0.9), curve=points)


@pytest.mark.parametrize(
    ("curve", "radius", "share"),
    [
        (((0.0, 0.8), (0.25, 0.5), (0.5, 0.2), (0.75, 0.0)), "0.5", 0.2),
        (((0.0, 0.8), (0.25, 0.0), (0.5, 0.0)), "0.25", 0.0),
        (((0.0, 0.8),), "0", 0.8),
    ],
)
def test_a_certificate_is_told_with_its_radius(attacked, curve, radius, share):
    row = by_kind(finished(*attacked(), certified=certified("model", *curve)))["certified"]
    assert (row.about, row.estimate.value) == (f"model, noise of 0.25, L2 radius {radius}", share)


def test_a_certificate_is_doubted_with_the_network_it_is_of(attacked):
    curve = ((0.0, 0.8), (0.25, 0.5))
    for about, told in (("defense:noisy", [True, False]), ("defense:none", [False, True])):
        doubt = Doubt(kind="not-converged", about=about, message="m")
        results = [finished(*attacked(), doubts=(doubt,), certified=certified(n, *curve)) for n in ("model", "noisy")]
        assert [by_kind(result)["certified"].established for result in results] == told


def test_each_row_names_its_file_with_its_hash_and_leaves_the_risk_to_the_reader(attacked):
    files = {"rows.parquet": "ab" * 32, "result.json": "cd" * 32}
    result = finished(*attacked())
    rows = standards(result, files)
    keys = {cell.key for cell in result.cells}
    for row in rows:
        assert row.sha256 == files[row.evidence]
        assert (row.key in keys) == (row.evidence == "rows.parquet")
        assert row.residual_risk == ""
    assert all(row.sha256 == "" for row in standards(result, {}))


def test_a_serious_doubt_takes_away_what_is_established(attacked):
    masked = Doubt(kind="gradient-masking", about="all", message="m")
    sound, doubted = (standards(finished(*attacked(), doubts=why), {}) for why in ((), (masked,)))
    assert all(row.established for row in sound)
    assert not any(row.established for row in doubted)
    assert sound[-1].says == "no check found anything serious"
    assert doubted[-1].says == "serious doubts: gradient masking"


def test_without_attacks_there_is_no_row_about_them(clean):
    assert [row.kind for row in standards(finished(clean()), {})] == ["accuracy", "doubts"]
