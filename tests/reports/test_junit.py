"""JUnit XML: counts that add up, failures where a gate did not pass, and text that XML can hold."""

import xml.etree.ElementTree as ET

import pytest

from radproof.assess.result import GateVerdict
from radproof.core.records import Doubt
from radproof.reports.junit import junit, write_junit


def verdict(sentence, verdict, message="it is 0.2 (0.1 to 0.3)"):
    return GateVerdict(
        sentence=sentence, metric="clean_accuracy", verdict=verdict, figure=None, about="cell", message=message
    )


GATES = (verdict("clean_accuracy >= 0.8", "passed"), verdict("a <= b & c", "failed"), verdict("c", "not established"))


@pytest.fixture
def root(result):
    return ET.fromstring(junit(result, GATES))


def test_counts_add_up(root, result):
    assert root.tag == "testsuites"
    for suite in [root, *root.findall("testsuite")]:
        for total, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped"), ("errors", "error")):
            assert int(suite.get(total)) == len(list(suite.iter(tag))), (suite.get("name"), total)
    assert [suite.get("name") for suite in root] == ["radproof.gates", "radproof.doubts"]
    assert [suite.get("tests") for suite in root] == [str(len(GATES)), str(len(result.doubts))]


def test_a_gate_that_does_not_pass_is_a_failure(root):
    cases = root.findall("testsuite[@name='radproof.gates']/testcase")
    assert [case.get("name") for case in cases] == [gate.sentence for gate in GATES]
    assert [case.find("failure") is None for case in cases] == [True, False, False]
    assert [case.find("failure").get("type") for case in cases[1:]] == ["failed", "not established"]
    assert "0.2 (0.1 to 0.3)" in cases[1].find("failure").get("message")
    assert "0.2 (0.1 to 0.3)" in cases[0].findtext("system-out")


def test_serious_doubts_fail_nothing_but_are_told(root, result):
    cases = root.findall("testsuite[@name='radproof.doubts']/testcase")
    serious = [doubt.message for doubt in result.doubts if doubt.severity == "serious"]
    assert [case.find("skipped").get("message") for case in cases if case.find("skipped") is not None] == serious
    assert root.find("testsuite[@name='radproof.doubts']").get("failures") == "0"


def test_cases_are_told_apart(root):
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == len(names)


def test_properties_say_what_was_tested(root, result):
    found = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert found["images"] == str(result.images)
    assert found["plan"] == result.provenance["plan"]


def test_what_xml_cannot_hold_is_left_out(result, tmp_path):
    odd = "class \x00\x1b[31m \ud800 <b> ]]> é"
    gates = [verdict("clean_accuracy >= 0.8", "failed", odd)]
    noted = result.model_copy(update={"doubts": (Doubt(kind="k", about=odd, message=odd),)})
    root = ET.parse(write_junit(tmp_path / "a.xml", noted, gates)).getroot()
    assert root.find(".//failure").get("message") == "class [31m  <b> ]]> é"
