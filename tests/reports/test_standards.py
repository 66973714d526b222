# SPDX-License-Identifier: Apache-2.0
"""The section on standards: clauses, files with their hashes, and what the test says nothing about."""

import hashlib
import re

from radproof.assess.frameworks import CLAUSES, OUTSIDE
from radproof.reports.reading import Reading
from radproof.reports.standards import hashes, standards_section


def test_files_are_named_with_what_sha256sum_says(tmp_path, reading):
    (tmp_path / "result.json").write_bytes(b"a" * 100_000)
    (tmp_path / "rows.parquet").write_bytes(b"b")
    expected = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in hashes(tmp_path)}
    section = standards_section(reading, tmp_path)
    assert set(expected) == {"result.json", "rows.parquet"}
    assert dict(section.files) == expected
    assert {row.sha256 for row in section.rows} == {sha256[:12] for sha256 in expected.values()}


def test_a_file_that_is_not_there_has_no_hash(tmp_path, reading):
    section = standards_section(reading, tmp_path)
    assert section.files == ()
    assert {row.sha256 for row in section.rows} == {""}


def test_ids_are_told_with_their_titles(finished, reading):
    rows = {row.title: dict(row.clauses) for row in standards_section(reading, finished).rows}
    transfer = rows[CLAUSES["transfer"].title]["MITRE ATLAS 5.6.0"]
    assert "AML.T0043.002 Black-Box Transfer" in transfer
    assert rows[CLAUSES["detection"].title]["MITRE ATLAS 5.6.0"] == "AML.M0015 Adversarial Input Detection"
    assert all("" not in told.values() for told in rows.values())


def test_a_doubted_figure_is_not_established_on_the_page(result, finished):
    doubted = standards_section(Reading(result), finished)
    sound = standards_section(Reading(result.model_copy(update={"doubts": ()})), finished)
    assert not any(row.established for row in doubted.rows)  # one of the doubts concerns everything
    assert all(row.established for row in sound.rows)


def test_the_page_claims_no_conformity_and_leaves_the_risk_open(page):
    section = re.search(r'<section id="standards">.*?</section>', page, flags=re.S)[0]
    assert "supports evidence for" in section
    assert "to be filled in" in section
    assert not re.search(r"compl(y|ies|iant)\b", section)
    for what, names, _ in OUTSIDE:
        assert what in section
        assert all(name in section for name in names)
