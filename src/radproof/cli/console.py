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
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from radproof.cli.supervised import Told, supervised
from radproof.core.whole import Left, Stage, Whole, lasting, spoken

EVERY = 15.0  # seconds between lines where stderr is no terminal
OFTEN = 0.5  # seconds between two looks at the whole


class Remaining(TimeRemainingColumn):
    """Of the whole run as it is foretold; of a stage by its own pace."""

    def render(self, task: Task) -> Text:
        """One cell."""
        if "words" not in task.fields:
            return super().render(task)
        return Text(task.fields["words"], style="progress.remaining")


class Bars:
    """Draws a bar with an ETA per stage, and one of the whole run where it says what is to come.

    Where stderr is no terminal, it writes a line now and then.

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
            Remaining(),
            console=self.console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._plain: dict[str, list[float]] = {}  # stage -> [done, total, began, last line]
        self._told = Told() if supervised() else None
        self._whole, self._looked = Whole(), 0.0
        self._run: TaskID | None = None

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def expect(self, stages: Sequence[Stage]) -> None:
        """What is to come of the run."""
        if self._told:
            return self._told.expect(stages)
        self._whole.expect(stages)
        if self._live and self._run is None:
            self._run = self._bars.add_task("whole run", total=1.0, words="")

    def start(self, stage: str, total: float) -> None:
        """Begin a stage of `total` units."""
        if self._told:
            return self._told.start(stage, total)
        now = time.monotonic()
        self._plain[stage] = [0.0, max(total, 1e-9), now, now]
        self._whole.start(stage, total, now)
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
        state, now = self._plain[stage], time.monotonic()
        state[0] += amount
        self._whole.advance(stage, state[0], now)
        if self._live:
            self._bars.advance(self._tasks[stage], amount)
            self._look(now)
        elif now - state[3] >= EVERY and state[0] > 0:
            state[3] = now
            self.console.print(f"{harmless(stage)}: {self._words(state, now)}", markup=False)

    def _look(self, now: float) -> None:
        if self._run is not None and now - self._looked >= OFTEN:
            self._looked, left = now, self._whole.left
            self._bars.update(self._run, completed=self._whole.share, words=_short(left) if left else "")

    def _words(self, state: Sequence[float], now: float) -> str:
        if not self._whole.known:
            left = (now - state[2]) * (state[1] / state[0] - 1)
            return f"{100 * state[0] / state[1]:.0f} %, about {left:.0f} s left"
        left = self._whole.left
        return f"{100 * self._whole.share:.0f} % of the run{f', {spoken(left)}' if left else ''}"

    def note(self, message: str) -> None:
        """One line for the user."""
        if self._told:
            return self._told.note(message)
        self.console.print(harmless(message), markup=False)


def _short(left: Left) -> str:
    return f"{lasting(left.seconds)} ({lasting(left.low)} to {lasting(left.high)})"


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
