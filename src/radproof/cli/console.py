# SPDX-License-Identifier: Apache-2.0
"""What the command line writes: progress and errors on stderr, data on stdout."""

import json
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from radproof.cli.supervised import Told, supervised

EVERY = 15.0  # seconds between lines where stderr is no terminal


class Bars:
    """Draws a bar with an ETA per stage; writes a line now and then where stderr is no terminal.

    A worker that runs the command is told in JSON lines instead.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live = self.console.is_terminal and not quiet
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._plain: dict[str, list[float]] = {}  # stage -> [done, total, began, last line]
        self._told = Told() if supervised() else None

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, stage: str, total: float) -> None:
        """Begin a stage of `total` units."""
        if self._told:
            return self._told.start(stage, total)
        now = time.monotonic()
        self._plain[stage] = [0.0, max(total, 1e-9), now, now]
        if self._live and stage in self._tasks:
            self._bars.reset(self._tasks[stage], total=total)
        elif self._live:
            self._tasks[stage] = self._bars.add_task(escape(harmless(stage)), total=total)

    def advance(self, stage: str, amount: float = 1.0) -> None:
        """So much of the stage is done; nothing of one that was never begun."""
        if self._told:
            return self._told.advance(stage, amount)
        if stage not in self._plain:
            return
        if self._live:
            self._bars.advance(self._tasks[stage], amount)
            return
        state = self._plain[stage]
        state[0] += amount
        now = time.monotonic()
        if now - state[3] >= EVERY and state[0] > 0:
            state[3] = now
            left = (now - state[2]) * (state[1] / state[0] - 1)
            self.console.print(
                f"{harmless(stage)}: {100 * state[0] / state[1]:.0f} %, about {left:.0f} s left", markup=False
            )

    def note(self, message: str) -> None:
        """One line for the user."""
        if self._told:
            return self._told.note(message)
        self.console.print(harmless(message), markup=False)


def harmless(text: str) -> str:
    """A text without characters that command a terminal or turn the direction of writing; lines stay."""
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else " " for c in text)


def print_json(value: Any) -> None:
    """Data for programs, on stdout."""
    print(json.dumps(value, indent=1, allow_nan=False, default=str))


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Data for people, on stdout."""
    table = Table(
        title=escape(harmless(title)),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
    )
    for number, name in enumerate(rows[0] if rows else []):
        table.add_column(escape(harmless(name)), justify="left" if number < 3 else "right", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else escape(harmless(str(value))) for value in row.values()))
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = 200  # a file or a log has no edge to break words at
    out.print(table)


def print_lines(lines: Sequence[str]) -> None:
    """Plain lines on stdout."""
    out = Console(highlight=False, soft_wrap=True)
    for line in lines:
        out.print(harmless(line), markup=False)
