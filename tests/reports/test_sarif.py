"""SARIF: valid by the standard's own schema, stable from run to run, and pointing to the plan's line."""

import json

import jsonschema
import pytest

from radproof import __version__
from radproof.assess.result import GateVerdict
from radproof.core.records import Doubt
from radproof.reports.sarif import sarif, write_sarif

SENTENCE = "robust_accuracy >= 0.6 @ 4/255"


def verdict(sentence=SENTENCE, verdict="failed", metric="robust_accuracy", message="it is 0.2 (0.1 to 0.3)"):
    return GateVerdict(sentence=sentence, metric=metric, verdict=verdict, figure=None, about="cell", message=message)


GATES = (
    verdict("clean_accuracy >= 0.8", "passed", "clean_accuracy"),
    verdict(),
    verdict("not worse than old by 0.02", "not established", "not_worse"),
)


@pytest.fixture
def log(result):
    return sarif(result, GATES)["runs"][0]


def test_it_is_valid_by_the_schema_of_the_standard(shared, result, tmp_path):
    schema = json.loads((shared / "standards" / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"gate:\n  - {SENTENCE}\n")
    validator = jsonschema.validators.validator_for(schema)(schema)
    for made in (sarif(result, GATES), sarif(result, GATES, plan), sarif(result.model_copy(update={"doubts": ()}), ())):
        validator.validate(made)
        broken = json.loads(json.dumps(made))
        broken["runs"][0]["results"] = [{"level": "fatal"}]
        assert not validator.is_valid(broken)


def test_every_gate_that_did_not_pass_and_every_doubt_is_a_result(log, result):
    found = [(one["ruleId"], one["level"]) for one in log["results"]]
    assert found[:2] == [("gate/robust_accuracy", "error"), ("gate/not_worse", "error")]
    levels = {"serious": "warning", "note": "note"}
    assert found[2:] == [(f"doubt/{doubt.kind}", levels[doubt.severity]) for doubt in result.doubts]
    assert "it is 0.2 (0.1 to 0.3)" in log["results"][0]["message"]["text"]


def test_results_point_to_their_rules(log):
    rules = log["tool"]["driver"]["rules"]
    assert log["tool"]["driver"]["version"] == __version__
    assert len({rule["id"] for rule in rules}) == len(rules)
    for one in log["results"]:
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]
        assert rules[one["ruleIndex"]]["defaultConfiguration"]["level"] == one["level"]
    attacks = next(rule for rule in rules if rule["id"] == "gate/robust_accuracy")
    known = {taxon["id"] for taxon in log["taxonomies"][0]["taxa"]}
    assert {relation["target"]["id"] for relation in attacks["relationships"]} == known
    assert known == {"AML.T0015", "AML.T0043"}


def test_the_atlas_techniques_go_by_their_names(shared, log):
    text = (shared / "standards" / "ATLAS.yaml").read_text(encoding="utf-8")
    for taxon in log["taxonomies"][0]["taxa"]:
        assert f"- id: {taxon['id']}\n    name: {taxon['name']}\n" in text


def test_fingerprints_know_a_finding_again(result):
    def prints(gates, doubts):
        made = sarif(result.model_copy(update={"doubts": doubts}), gates)["runs"][0]["results"]
        return [one["partialFingerprints"]["radproofFinding/v1"] for one in made]

    def doubt(about, message):
        return Doubt(kind="shortcut", about=about, message=message)

    first = prints([verdict()], [doubt("a", "by 3 points"), doubt("b", "by 3 points")])
    assert prints([verdict(message="it is 0.5")], [doubt("a", "by 4 points"), doubt("b", "by 5 points")]) == first
    assert len(set(first)) == 3
    assert prints([verdict("robust_accuracy >= 0.7 @ 4/255")], [])[0] not in first


def test_locations_are_lines_of_the_plan_without_folders_of_the_machine(result, tmp_path, monkeypatch):
    plan = tmp_path / "plans" / "gate.yaml"
    plan.parent.mkdir()
    plan.write_text(
        f"name: gate\ngate:\n  - clean_accuracy >= 0.8\n  - {SENTENCE}\n  - not worse than ../old by 0.02\n"
    )

    def places():
        return [one["locations"][0]["physicalLocation"] for one in sarif(result, GATES, plan)["runs"][0]["results"]]

    assert places()[0] == {"artifactLocation": {"uri": "gate.yaml"}, "region": {"startLine": 4}}
    monkeypatch.chdir(tmp_path)
    assert places()[0]["artifactLocation"]["uri"] == "plans/gate.yaml"
    assert [place["region"]["startLine"] for place in places()[:3]] == [4, 5, 1]
    assert sarif(result, GATES)["runs"][0]["results"][0]["locations"] == [
        {"physicalLocation": {"artifactLocation": {"uri": "result.json"}}}
    ]


def test_the_file_is_the_log(result, tmp_path):
    path = write_sarif(tmp_path / "gate.sarif", result, GATES)
    assert json.loads(path.read_text(encoding="utf-8")) == sarif(result, GATES)
