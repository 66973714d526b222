"""A search from its file to its page."""

import json
import xml.etree.ElementTree as ET

import yaml


def test_two_qualities_are_tried_on_validation_patients(finished, plan, write_plan, radproof, tmp_path):
    base = {
        **plan,
        "model": {"path": str(finished / "model")},
        "attacks": [{"name": "pgd", "steps": 2}],
        "budgets": ["8/255"],
        "adaptive": [{"name": "pgd", "steps": 2}, {"name": "square", "queries": 5}],
        "detectors": [],
        "corruptions": [],
        "smallest": None,
        "survival": False,
        "gallery": 0,
    }
    write_plan(tmp_path, base)
    search = {"plan": "plan.yaml", "images": 6, "defenses": [{"name": "jpeg", "quality": [50, 90]}]}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(search))
    run = tmp_path / "run"
    code, _, err = radproof("tune", tmp_path / "search.yaml", "--out", run, "--quiet")
    assert code == 0, err
    found = json.loads((run / "tuning.json").read_text())
    chosen = {c["name"]: c["chosen"] for c in found["candidates"]}
    assert chosen == {"none": {}} | {
        f"jpeg(quality={q})": {"defenses": [{"name": "jpeg", "quality": q}]} for q in (50, 90)
    }
    assert found["images"] == 6 and found["budget"] == "8/255"
    result = json.loads((run / "result.json").read_text())
    assert result["plan"]["data"]["fold"] == "validation"
    worst = {c["defense"]: c["robust_accuracy"] for c in result["cells"] if c["column"] == "headline"}
    assert {c["name"]: c["robust"] for c in found["candidates"]} == worst
    ET.parse(run / "front.svg")
    assert "jpeg(quality=90)" in (run / "tuning.md").read_text()
    code, _, err = radproof("tune", tmp_path / "search.yaml", "--out", run, "--eps", "4/255", "--quiet")
    assert code == 2 and "no budget 4/255; it has 8/255" in err
