# SPDX-License-Identifier: Apache-2.0
"""What a guarded process may say of an archive is bounded: figures, sentences, lists."""

from pathlib import Path
from typing import Any

import pytest

from radproof.assess import received
from radproof.assess.received import Received
from radproof.assess.sheltered import said
from radproof.assess.unnamed import Unnamed
from radproof.assess.unreadable import Unreadable
from radproof.errors import BadImage, BadModel

GOOD: dict[str, Any] = {
    "source": "folder", "labels": ["a", "b"], "head": "softmax", "images": 5, "patients": 0, "patients_known": True,
    "phantom": False, "folds": {}, "grids": [], "views": {}, "left_out": {}, "excluded": [], "excluded_count": 0,
    "audit": {"failed": False, "lines": ["x"]}, "bytes": 10, "fingerprint": "x" * 64,
}  # fmt: skip
ONE = {"index": 1, "sha256": "", "reason": "broken"}
BAD: list[dict[str, Any]] = [
    {"bytes": -1}, {"bytes": 2**63}, {"images": -5}, {"patients": 10**18}, {"excluded_count": -1},
    {"audit": {"failed": False, "lines": ["x" * 10_000_000]}}, {"audit": {"failed": False, "lines": ["x"] * 10_000}},
    {"labels": ["x" * 1000]}, {"labels": ["x"] * 10_000}, {"fingerprint": "x" * 10_000}, {"source": "x" * 10_000},
    {"excluded": [ONE] * 201}, {"excluded": [{**ONE, "reason": "x" * 1000}]}, {"excluded": [{**ONE, "index": -1}]},
    {"views": {"x" * 1000: 1}}, {"views": {str(n): 1 for n in range(300)}}, {"left_out": {"x": -1}},
    {"grids": [{"height": -1, "width": 1, "channels": 1, "levels": 1, "images": 1}]},
    {"folds": {"test": {"images": -1, "patients": 0, "classes": {}}}},
    {"audit": {"failed": False, "lines": [], "unreadable": {"reasons": {str(n): 1 for n in range(30)}}}},
]  # fmt: skip


def test_what_is_in_order_is_taken() -> None:
    assert said(Received, {**GOOD, "excluded": [ONE]}).bytes == 10


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad}"[:40])
def test_what_no_data_set_has_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(BadModel, match="not in order"):
        said(Received, {**GOOD, **bad})


def test_a_line_that_lists_a_whole_data_set_is_cut() -> None:
    assert len(received._cut("x" * 10**6)) == received._LONG and received._cut("short") == "short"


def test_a_name_with_figures_is_known_before_they_are_replaced() -> None:
    path, words = "a/Mueller_Hans_19530412.png", Unnamed()
    words.files([path])
    left = Unreadable({path: 1}, "", words, Path("/srv/x"))
    left.add(path, BadImage("Mueller_Hans_19530412.png ends 20 bytes early"))
    assert left.reasons() == {"file … ends … bytes early": 1}
