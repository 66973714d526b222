# SPDX-License-Identifier: Apache-2.0
"""The registered parts as the command line tells of them, from the packaged catalogue: without importing torch."""

import json
import textwrap
from importlib.resources import files
from typing import Annotated, Any

import typer

from radproof.cli.console import print_json, print_lines, print_table
from radproof.errors import BadInput


def catalogue() -> dict[str, dict[str, Any]]:
    """kind -> name -> title, paper, threat, parameters."""
    return json.loads(files("radproof.schema").joinpath("parts.json").read_text(encoding="utf-8"))


def listed(kind: str) -> str:
    """One line per part, for help texts."""
    parts = catalogue()[kind]
    width = max(map(len, parts), default=0)
    return "\n".join(f"  {name:<{width}}  {part['title']}" for name, part in parts.items())


def told(kind: str) -> str:
    """Three lines per part, for help texts: title and paper, threat and cost, parameters."""
    lines: list[str] = []
    for name, part in catalogue()[kind].items():
        bill = ", ".join(f"{cost} ({preset})" for preset, cost in part["cost"].items()) or "cost not known in advance"
        lines += [
            f"  {name}: {part['title']}, {part['paper']}",
            f"    threat {part['threat']}; {bill}",
            *textwrap.wrap(
                " ".join(parameter["name"] for parameter in part["parameters"]) or "no parameters",
                width=74,
                initial_indent="    ",
                subsequent_indent="    ",
            ),
        ]
    return "\n".join(lines)


def parts(
    name: Annotated[str | None, typer.Argument(help="A part to describe; none lists all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")] = False,
) -> None:
    """List attacks, defences, detectors and corruptions, or describe one with its parameters."""
    every = catalogue()
    if name is None:
        if as_json:
            print_json(every)
            return
        for kind in every:
            print_lines([f"{kind}:", listed(kind)])
        return
    found = next((found[name] for found in every.values() if name in found), None)
    if found is None:
        from radproof.core.names import nearest

        raise BadInput(f"no part named {name!r}{nearest(name, [n for found in every.values() for n in found])}")
    if as_json:
        print_json(found)
        return
    print_lines([f"{found['title']} ({found['paper']})" if found["paper"] else found["title"], "", found["doc"], ""])
    print_table("Parameters", found["parameters"] or [{"name": "none"}])
