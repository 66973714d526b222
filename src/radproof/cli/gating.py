# SPDX-License-Identifier: Apache-2.0
"""The commands that decide: gate, compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radproof.cli.console import print_json, print_lines, print_table
from radproof.errors import BadInput, GateFailed

if TYPE_CHECKING:
    from radproof.assess.result import GateVerdict

AsJson = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("gate", epilog="The sentences of a gate are described in docs/howto/gate-in-ci.md.")(gate)
    app.command("compare")(compare)


def gate(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    require: Annotated[
        list[str] | None,
        typer.Option(
            help='A promise such as "robust_accuracy >= 0.6 @ 1/255", instead of the plan\'s; may be repeated.'
        ),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Take the promises from this plan; SARIF points to its lines.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary in Markdown to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a finished run again by its plan's gate, or by other promises.

    Exit code 1 where a promise is not kept.
    """
    from radproof import app

    if require and plan:
        raise BadInput("give either --require or --plan, not both")
    verdicts = app.gate(run, require or (), plan=plan, junit=junit, sarif=sarif, markdown=markdown)
    if as_json:
        print_json([verdict.model_dump(mode="json") for verdict in verdicts])
    else:
        print_gates(verdicts)
    insist(verdicts)


def compare(
    run_a: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    run_b: Annotated[Path | None, typer.Argument(help="Another's; none compares the defences of the first.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the comparison in Markdown to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs on the same images, or the defences of one run with none.

    Differences are paired by image, with intervals over patients and exact McNemar tests.
    """
    from radproof import app
    from radproof.reports.comparison import comparison_rows, conclusion, notes, title

    found = app.compare(run_a, run_b, markdown=markdown)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_lines([f"Note: {line}" for line in notes(found)])
    print_table(title(found), comparison_rows(found))
    print_lines([f"{conclusion(found)}."])


def print_gates(verdicts: "Sequence[GateVerdict]") -> None:
    """One line per gate."""
    print_lines([f"Gate {v.verdict}: {v.sentence} ({v.message})" for v in verdicts])


def insist(verdicts: "Sequence[GateVerdict]") -> None:
    """Raises GateFailed where a gate did not pass."""
    broken = [verdict for verdict in verdicts if verdict.verdict != "passed"]
    if broken:
        named = "; ".join(f"{verdict.sentence} ({verdict.verdict})" for verdict in broken)
        raise GateFailed(f"{len(broken)} of {len(verdicts)} gates did not pass: {named}")
