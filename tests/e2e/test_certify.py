# SPDX-License-Identifier: Apache-2.0
"""The command certify: certificates in a file, resumed, and refused where they mean nothing."""

import json


def test_certificates_are_written_resumed_and_belong_to_their_settings(radproof, tmp_path, other_model, dataset):
    out = tmp_path / "out"
    asked = ["certify", "--model", other_model, "--data", dataset, "--n", 40, "--n0", 5, "--alpha", 0.01]
    asked += ["--images", 6, "--out", out, "--quiet"]
    code, printed, _ = radproof(*asked, "--json")
    assert code == 0
    found = json.loads(printed)
    assert len(found["certificates"]) == found["images"] == 6
    assert found["values"] == 32 * 32
    assert all(one["radius"] <= found["cap"] + 1e-12 for one in found["certificates"])
    assert json.loads((out / "certificates.json").read_text()) == found

    kept = sorted((out / "work" / "batches" / "certify").glob("*.npz"))
    assert len(kept) == 6
    times = {path: path.stat().st_mtime_ns for path in kept}
    kept[2].unlink()
    code, printed, _ = radproof(*asked)
    assert code == 0
    assert f"no radius above {found['cap']:.4g}" in printed
    assert "abstained" in printed
    assert {path for path in kept if path.stat().st_mtime_ns != times[path]} == {kept[2]}
    assert json.loads((out / "certificates.json").read_text()) == found

    code, _, err = radproof(*asked, "--sigma", 0.5)
    assert code == 2
    assert "different: certify" in err


def test_too_few_draws_are_refused_before_anything_is_opened(radproof, tmp_path):
    code, _, err = radproof("certify", "--model", tmp_path / "no", "--data", "phantom", "--n", 12, "--alpha", 0.0001)
    assert code == 2
    assert "at least 14" in err
