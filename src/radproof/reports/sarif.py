# SPDX-License-Identifier: Apache-2.0
"""Gates that did not pass, and doubts, as SARIF 2.1.0: what code-scanning pages of GitHub, GitLab and others read.

OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", 2020. Rules about attacks point to techniques
of MITRE ATLAS.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radproof import __version__
from radproof.assess.result import GateVerdict, Result
from radproof.core.files import write_text
from radproof.core.records import Doubt

NAME = "gate.sarif"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ATLAS = {"AML.T0015": "Evade AI Model", "AML.T0043": "Craft Adversarial Data"}
_ATTACKS = ("robust_accuracy", "attack_success", "missed_findings", "detection", "certified_accuracy", "not_worse")
_LEVELS = {"serious": "warning", "note": "note"}


def write_sarif(path: Path, result: Result, gates: Sequence[GateVerdict], plan: Path | None = None) -> Path:
    """Write the log, whole or not at all; `plan` is the file that the gates stand in."""
    write_text(path, json.dumps(sarif(result, gates, plan), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def sarif(result: Result, gates: Sequence[GateVerdict], plan: Path | None = None) -> dict[str, Any]:
    """The log: an error per gate that did not pass, a warning per serious doubt, a note per other doubt.

    Fingerprints hold no figure, so that the same finding of the next run is known again.
    """
    broken = [gate for gate in gates if gate.verdict != "passed"]
    rules = _rules(gates, result.doubts)
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    found = [_broken(gate, plan) for gate in broken] + [_doubted(doubt, plan) for doubt in result.doubts]
    atlas = {
        "name": "MITRE ATLAS",
        "organization": "MITRE",
        "shortDescription": {"text": "Adversarial Threat Landscape for Artificial-Intelligence Systems"},
        "taxa": [{"id": key, "name": name, "shortDescription": {"text": name}} for key, name in ATLAS.items()],
    }
    driver = {"name": "radproof", "version": __version__, "semanticVersion": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver | {"supportedTaxonomies": [{"name": "MITRE ATLAS", "index": 0}]}},
        "automationDetails": {"id": f"radproof/{result.name}/"},
        "columnKind": "unicodeCodePoints",
        "taxonomies": [atlas],
        "results": [one | {"ruleIndex": index[one["ruleId"]]} for one in found],
        "properties": {
            "verdict": result.verdict,
            "images": result.images,
            "patients": result.patients,
            "preset": result.preset,
            "phantom": result.phantom,
            "gates": {gate.sentence: gate.verdict for gate in gates},
        },
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rules(gates: Sequence[GateVerdict], doubts: Sequence[Doubt]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for gate in gates:
        words = gate.metric.replace("_", " ")
        rule = _rule(f"gate/{gate.metric}", f"Gate on {words}", "error", "The run must keep what its plan promises.")
        if gate.metric in _ATTACKS:
            rule["relationships"] = [
                {"target": {"id": key, "toolComponent": {"name": "MITRE ATLAS", "index": 0}}, "kinds": ["relevant"]}
                for key in ATLAS
            ]
        found.setdefault(rule["id"], rule)
    for doubt in sorted(doubts, key=lambda doubt: doubt.severity != "serious"):
        words = doubt.kind.replace("-", " ")
        rule = _rule(
            f"doubt/{doubt.kind}", f"Doubt: {words}", _LEVELS[doubt.severity], "A reason not to believe a figure."
        )
        found.setdefault(rule["id"], rule)
    return list(found.values())


def _rule(name: str, short: str, level: str, full: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": "".join(
            word.capitalize() for word in name.replace("/", " ").replace("-", " ").replace("_", " ").split()
        ),
        "shortDescription": {"text": short},
        "fullDescription": {"text": full},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["robustness", "machine-learning"]},
    }


def _broken(gate: GateVerdict, plan: Path | None) -> dict[str, Any]:
    text = f"{gate.sentence}: {gate.verdict}. {gate.message}."
    return _finding(f"gate/{gate.metric}", "error", text, gate.sentence, plan, gate.sentence)


def _doubted(doubt: Doubt, plan: Path | None) -> dict[str, Any]:
    return _finding(f"doubt/{doubt.kind}", _LEVELS[doubt.severity], f"{doubt.message}.", doubt.about, plan, "")


def _finding(rule: str, level: str, text: str, about: str, plan: Path | None, sentence: str) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(plan)}}
    if plan is not None:
        place["region"] = {"startLine": _line(plan, sentence)}
    print_ = hashlib.sha256(f"{rule}\n{about}".encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"radproofFinding/v1": print_},
    }


def _uri(plan: Path | None) -> str:
    """Relative to where the command runs, as code scanning wants it; never a folder of this machine."""
    if plan is None:
        return "result.json"
    here, full = Path.cwd(), plan.resolve()
    return full.relative_to(here).as_posix() if full.is_relative_to(here) else full.name


def _line(plan: Path, sentence: str) -> int:
    """Where the sentence stands in the plan, else its first line; a run's folder may be written in another way."""
    start = sentence.partition(" ")[0] if not sentence.startswith("not worse") else "not worse"
    lines = plan.read_text(encoding="utf-8").splitlines() if sentence and plan.is_file() else []
    whole = next((n for n, line in enumerate(lines, 1) if sentence in line), None)
    return whole or next((n for n, line in enumerate(lines, 1) if start in line), 1)
