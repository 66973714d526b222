# SPDX-License-Identifier: Apache-2.0
"""Gates and doubts as JUnit XML, in the dialect that CI servers read: a gate that does not pass is a failure.

A serious doubt is a test that was skipped with a reason, since a gate that it touches has failed already.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from radproof.assess.result import GateVerdict, Result
from radproof.core.files import write_bytes
from radproof.reports.reading import Numbered, Reading

NAME = "gate.junit.xml"


def write_junit(path: Path, result: Result, gates: Sequence[GateVerdict]) -> Path:
    """Write the test report, whole or not at all."""
    write_bytes(path, junit(result, gates))
    return path


def junit(result: Result, gates: Sequence[GateVerdict]) -> bytes:
    """Two suites: a test case per gate, and one per doubt."""
    root = ET.Element("testsuites", name=_clean(f"radproof {result.name}"))
    suites = [_gates(root, result, gates), _doubts(root, result)]
    for total in ("tests", "failures", "errors", "skipped"):
        root.set(total, str(sum(int(suite.get(total, "0")) for suite in suites)))
    root.set("time", f"{result.timing.seconds:.3f}")
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _gates(root: ET.Element, result: Result, gates: Sequence[GateVerdict]) -> ET.Element:
    broken = [gate for gate in gates if gate.verdict != "passed"]
    suite = _suite(root, "gates", len(gates), failures=len(broken), timestamp=result.timing.started)
    facts = {
        "images": result.images,
        "patients": result.patients,
        "preset": result.preset,
        "phantom": str(result.phantom).lower(),
        **{key: result.provenance.get(key, "") for key in ("radproof", "torch", "device", "plan", "model", "data")},
    }
    properties = ET.SubElement(suite, "properties")
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=_clean(str(value)))
    for gate in gates:
        case = _case(suite, gate.sentence, f"radproof.{result.name}.gate.{gate.metric}")
        if gate in broken:
            failure = ET.SubElement(case, "failure", message=_clean(gate.message), type=gate.verdict)
            failure.text = _clean(f"{gate.sentence}\n{gate.verdict}: {gate.message}\nabout: {gate.about or 'the run'}")
        else:
            ET.SubElement(case, "system-out").text = _clean(gate.message)
    return suite


def _doubts(root: ET.Element, result: Result) -> ET.Element:
    doubts = Reading(result).doubts
    serious = [found for found in doubts if found.doubt.severity == "serious"]
    suite = _suite(root, "doubts", len(doubts), skipped=len(serious), timestamp=result.timing.started)
    for found in doubts:
        case = _case(suite, _named(found), f"radproof.{result.name}.doubt.{found.doubt.kind}")
        if found in serious:
            ET.SubElement(case, "skipped", message=_clean(found.doubt.message))
        else:
            ET.SubElement(case, "system-out").text = _clean(found.doubt.message)
    return suite


def _named(found: Numbered) -> str:
    return f"{found.doubt.kind}: {found.concerns}"


def _suite(
    root: ET.Element, name: str, tests: int, *, failures: int = 0, skipped: int = 0, timestamp: str
) -> ET.Element:
    counts = {"tests": tests, "failures": failures, "errors": 0, "skipped": skipped}
    told = {key: str(value) for key, value in counts.items()}
    return ET.SubElement(root, "testsuite", {"name": f"radproof.{name}", "time": "0", "timestamp": timestamp, **told})


def _case(suite: ET.Element, name: str, classname: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", name=_clean(name), classname=_clean(classname), time="0")


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(
        c for c in text if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )
