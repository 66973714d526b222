# SPDX-License-Identifier: Apache-2.0
"""Judge finished runs: promises kept, and differences between two."""

from collections.abc import Sequence
from pathlib import Path

from radproof.assess.compare import Comparison
from radproof.assess.compare import compare as compare_runs
from radproof.assess.finished import open_run
from radproof.assess.gate import check_known, judge, require_runs
from radproof.assess.gate_sentence import anchor_gate
from radproof.assess.plan import read_plan
from radproof.assess.result import GateVerdict
from radproof.core.files import write_text
from radproof.errors import BadInput
from radproof.reports.comparison import markdown as comparison_page
from radproof.reports.junit import write_junit
from radproof.reports.markdown import write_markdown
from radproof.reports.sarif import write_sarif


def gate(
    run: Path,
    require: Sequence[str] = (),
    *,
    plan: Path | None = None,
    junit: Path | None = None,
    sarif: Path | None = None,
    markdown: Path | None = None,
) -> tuple[GateVerdict, ...]:
    """Judge a finished run by these promises, or a plan's, else by its own plan's; write reports where asked.

    The run itself stays as it is. Raises BadPlan for a sentence that is no gate or about what the run does not have.
    """
    finished = open_run(run)
    told = tuple(anchor_gate(sentence, Path.cwd()) for sentence in require) or (read_plan(plan).gate if plan else ())
    check_known(finished.result, told)
    sentences = told if told or plan else tuple(finished.result.plan.get("gate", ()))
    if not sentences:
        raise BadInput(f"{plan or run} promises nothing: its plan has no gate; give --require 'clean_accuracy >= 0.8'")
    require_runs(sentences)
    verdicts = judge(finished, sentences)
    if junit:
        write_junit(junit, finished.result, verdicts)
    if sarif:
        write_sarif(sarif, finished.result, verdicts, plan)
    if markdown:
        write_markdown(markdown, finished.result, verdicts)
    return verdicts


def compare(a: Path, b: Path | None = None, *, markdown: Path | None = None) -> Comparison:
    """Compare two finished runs on the same images, or the defences of one with none; see assess.compare."""
    found = compare_runs(open_run(a), open_run(b) if b else None)
    if markdown:
        write_text(markdown, comparison_page(found))
    return found
