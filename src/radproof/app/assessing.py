# SPDX-License-Identifier: Apache-2.0
"""Assess a model by a plan, and draw the report."""

from pathlib import Path

from radproof.assess import sheltered
from radproof.assess.finished import Finished, read_result
from radproof.assess.gate import judge, require_runs
from radproof.assess.leavings import RESULT
from radproof.assess.plan import Plan
from radproof.assess.result import Result
from radproof.core.files import write_text
from radproof.core.progress import SILENT, Progress
from radproof.errors import UnknownName
from radproof.reports.html import write_report
from radproof.reports.junit import NAME as JUNIT
from radproof.reports.junit import write_junit
from radproof.reports.markdown import NAME as SUMMARY
from radproof.reports.markdown import write_markdown
from radproof.reports.pdf import require_pdf, write_pdf
from radproof.reports.sarif import NAME as SARIF
from radproof.reports.sarif import write_sarif


def assess(
    plan: Plan,
    out: Path,
    *,
    overwrite: bool = False,
    replay: Path | None = None,
    pdf: bool = False,
    plan_file: Path | None = None,
    progress: Progress = SILENT,
) -> Result:
    """Run a plan and draw its report; see assess.run.assess.

    Where the plan has a gate, the result holds its verdicts and the run's folder gate.junit.xml and gate.sarif (which
    points to `plan_file`).
    """
    if pdf:
        require_pdf()
    require_runs(plan.gate)
    result = sheltered.assess(plan, out, overwrite=overwrite, replay=replay, progress=progress)
    if plan.gate:
        result = result.model_copy(update={"gates": judge(Finished(out, result), plan.gate)})
        write_text(out / RESULT, result.model_dump_json(indent=1))
    report(out, pdf=pdf)
    if plan.gate:
        write_junit(out / JUNIT, result, result.gates)
        write_sarif(out / SARIF, result, result.gates, plan_file)
    return result


def report(run: Path, *, pdf: bool = False) -> Path:
    """Draw report.html and summary.md (and report.pdf) from a finished run."""
    if not (run / RESULT).is_file():
        raise UnknownName(f"{run} holds no {RESULT}; run `radproof assess` first, or to its end")
    page = write_report(run)
    result = read_result(run)
    write_markdown(run / SUMMARY, result, result.gates)
    return write_pdf(run) if pdf else page
