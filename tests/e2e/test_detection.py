# SPDX-License-Identifier: Apache-2.0
"""Detectors in a run: promises kept and told, attackers who know them, attacks left out."""

import json

import pandas as pd
import pytest


def load(run):
    return json.loads((run / "result.json").read_text())


CHANGES = {
    "attacks": ["fgsm", {"name": "pgd", "steps": 3}],
    "defenses": [],
    "corruptions": [],
    "survival": False,
    "gallery": 0,
    "false_positive_rate": 0.2,
    "detectors": ["drift", "frequency"],
}
AWARE = [{"name": "evasion", "steps": 2, "rounds": 1}, {"name": "orthogonal", "steps": 2}]


@pytest.fixture(scope="module")
def watched(finished, plan, write_plan, tmp_path_factory, done):
    """A run with attackers who know one of two detectors, and detectors that are also trained."""
    folder = tmp_path_factory.mktemp("watched")
    detection = {
        "images": 30,
        "aware": [*AWARE, {"name": "feature_constrained", "steps": 2, "rounds": 1}],
        "against": ["drift"],
        "aware_images": 5,
        "learned": {"attacks": ["fgsm", {"name": "pgd", "steps": 2}], "eps": "8/255", "images": 20},
    }
    path = write_plan(folder, {**plan, **CHANGES, "model": {"path": str(finished / "model")}, "detection": detection})
    done("assess", path, "--out", folder / "run", "-q")
    return folder / "run"


@pytest.fixture(scope="module")
def found(watched):
    return {one["detector"]: one for one in load(watched)["detection"]}


def test_every_detector_tells_its_promise_and_what_it_kept(found):
    assert list(found) == ["drift", "frequency"]
    for one in found.values():
        assert one["promised_rate"] == 0.2
        assert one["covers"][0] == "clean"
        assert len(one["covers"]) == 8
        assert [row["change"] for row in one["benign"]] == one["covers"][1:]
        assert one["likely_high"] > 0.2
        assert one["calibration_images"] == 12  # one of each validation patient


def test_rows_are_attacks_those_who_know_it_and_the_smallest_budget(found):
    kinds = [(row["kind"], row["attack"], row["budget"]) for row in found["drift"]["rows"]]
    attacks = [("attack", name, at) for name in ("fgsm", "pgd") for at in ("1/255", "8/255")]
    names = ("evasion", "orthogonal", "feature_constrained")
    aware = [("aware", name, at) for name in names for at in ("1/255", "8/255")]
    assert kinds == [*attacks, *aware, ("smallest", "smallest", "")]
    assert {row["kind"] for row in found["frequency"]["rows"]} == {"attack", "smallest"}


def test_flagged_and_unseen_are_recomputed_from_the_rows(found, watched):
    rows = pd.read_parquet(watched / "rows.parquet")
    for one in found.values():
        for row in one["rows"]:
            if row["kind"] == "smallest":
                continue
            made = rows[(rows["attack"] == row["attack"]) & (rows["budget"] == row["budget"])]
            made = made[made["column"] == ("aware" if row["kind"] == "aware" else "oblivious")]
            right, fooled = made["clean_right"], made["clean_right"] & made["reached"]
            flagged = made[f"suspicion_{one['detector']}"] > one["threshold"]
            assert row["success"]["value"] == pytest.approx(fooled.sum() / right.sum())
            assert row["undetected_success"]["value"] == pytest.approx((fooled & ~flagged).sum() / right.sum())
            if fooled.any():
                assert row["detected"]["value"] == pytest.approx((fooled & flagged).sum() / fooled.sum())


def test_images_made_against_a_detector_stay_out_of_the_accuracy_columns(watched):
    result = load(watched)
    assert {cell["column"] for cell in result["cells"]} == {"clean", "oblivious", "headline"}
    rows = pd.read_parquet(watched / "rows.parquet")
    aware = rows[rows["column"] == "aware"]
    assert set(aware["made_on"]) == {"drift"}
    assert (aware["linf"] <= aware["eps"] + 1e-6).all()
    assert aware.groupby("job").size().eq(5).all()


def test_each_attack_is_left_out_once_and_is_once_the_only_one(found):
    told = [(tuple(row["trained_with"]), row["attack"], row["budget"]) for row in found["drift"]["learned"]]
    assert told == [
        (("pgd",), "fgsm", "1/255"),
        (("pgd",), "fgsm", "8/255"),
        (("fgsm",), "pgd", "1/255"),
        (("fgsm",), "pgd", "8/255"),
    ]


def test_trained_detectors_tell_their_false_alarms(found, watched):
    kept = {path.name for path in (watched / "work" / "batches").glob("learned_*")}
    assert {f"learned_calibration-{change}" for change in found["drift"]["covers"]} < kept
    assert {"learned_clean", "learned_harmless", "learned_fgsm", "learned_pgd"} < kept
    for row in found["drift"]["learned"]:
        assert row["reason"] == ""
        assert row["achieved"]["n"] == found["drift"]["achieved_rate"]["n"]
    assert "False alarms, clean images alone" in (watched / "report.html").read_text()


def test_a_later_start_judges_with_the_same_detectors(watched, radproof):
    before, kept = load(watched), (watched / "work" / "detectors.safetensors").read_bytes()
    (path,) = watched.parent.glob("*.yaml")
    (watched / "result.json").unlink()
    code, _, err = radproof("assess", path, "--out", watched, "-q")
    assert code == 0, err
    assert (watched / "work" / "detectors.safetensors").read_bytes() == kept
    again = load(watched)
    assert set(again["timing"]["detectors"]) == {"drift", "frequency"}
    for timing in (before.pop("timing"), again.pop("timing")):
        assert timing["detectors"]["drift"]["forwards"] == 7
        assert timing["detectors"]["frequency"]["forwards"] == 0
    assert again == before


def test_the_report_and_the_summary_tell_of_it(watched):
    page, summary = (watched / "report.html").read_text(), (watched / "summary.md").read_text()
    for text in (page, summary):
        assert "drift" in text
        assert "orthogonal" in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attacks": ["evasion"]}, "name it under detection: aware: instead"),
        ({"detection": {"aware": ["pgd"]}}, "pgd knows nothing of detectors"),
        ({"detectors": [], "detection": {"aware": AWARE}}, "no detectors: to be aware of"),
        ({"detection": {"aware": AWARE, "against": ["drif"]}}, "did you mean 'drift'"),
        ({"detection": {"aware": AWARE, "by": "class"}}, "leave out by: class"),
        ({"detection": {"imagse": 3}}, "images"),
        ({"detection": {"learned": {"attacks": ["pgd"]}}}, "at least 2 items"),
        (
            {"detection": {"learned": {"attacks": ["fgsm", {"name": "patch", "where": "anatomy"}]}}},
            "is not known in detection.learned",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes, sentence, finished, plan, write_plan, tmp_path, radproof):
    path = write_plan(tmp_path, {**plan, **CHANGES, "model": {"path": str(finished / "model")}, **changes})
    code, _, err = radproof("assess", path, "--out", tmp_path / "run", "-q")
    assert code == 2
    assert sentence in err
    assert not (tmp_path / "run").exists()


def test_thresholds_by_view_and_a_refusal_where_a_view_has_too_few(finished, plan, write_plan, tmp_path, radproof):
    detection = {"images": 30, "benign": False, "by": "view"}
    changes = {**CHANGES, "smallest": None, "detection": detection, "detectors": ["frequency"], "budgets": ["8/255"]}
    path = write_plan(tmp_path, {**plan, **changes, "model": {"path": str(finished / "model")}})
    code, _, err = radproof("assess", path, "--out", tmp_path / "run", "-q")
    assert code == 0, err
    (one,) = load(tmp_path / "run")["detection"]
    assert one["by"] == "view"
    assert one["covers"] == ["clean"]
    assert one["benign"] == []
    assert one["likely_high"] is None
