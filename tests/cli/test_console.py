"""What is written to a terminal cannot command it, and progress that nobody announced stops nothing."""

import io

import pytest

from radproof.cli import console
from radproof.cli.console import Bars, harmless, print_lines, print_table
from radproof.core.whole import Piece, Stage

EVIL = "a\x1b]0;owned\x07\x1b[2Jb\x9bc\u202ed\r"


def test_lines_and_tables_hold_no_controls(capsys):
    print_lines([f"Card: {EVIL}"])
    print_table(EVIL, [{EVIL: EVIL, "two": "[bold]x"}])
    out = capsys.readouterr().out
    assert "owned" in out and "[bold]x" in out
    assert not set("\x1b\x07\x9b\u202e\r") & set(out)


def test_lines_stay_lines():
    assert harmless("a\nb\tc ü") == "a\nb c ü"


@pytest.mark.parametrize("live", [False, True])
def test_stages_that_were_never_begun_and_steps_of_nothing(monkeypatch, live):
    monkeypatch.setattr(console, "EVERY", 0.0)
    with Bars() as bars:
        bars.console.file = io.StringIO()
        bars._live = live
        bars.advance("never")
        bars.start("[red]\x1b[2J", 2)
        bars.advance("[red]\x1b[2J", 0.0)
        bars.start("[red]\x1b[2J", 2)
        bars.advance("[red]\x1b[2J", 1.0)
        bars.note(EVIL)
        assert not {"\x07", "\u202e"} & set(bars.console.file.getvalue())
        assert len(bars._tasks) == live


def test_a_run_that_says_what_is_to_come_is_told_as_a_whole(monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with Bars() as bars:
        bars.console.file, bars._live = io.StringIO(), False
        bars.expect((Stage("attacks", (Piece("attacks", 40),)), Stage("checks", (Piece("checks", 60),))))
        bars.start("attacks", 4)
        bars.advance("attacks", 1)
    assert bars.console.file.getvalue() == "attacks: 10 % of the run, about 3 min left (2 min to 6 min)\n"


def test_a_terminal_shows_the_whole_run_as_a_bar_of_its_own():
    with Bars() as bars:
        bars.console.file, bars._live = io.StringIO(), True
        bars.expect((Stage("attacks", (Piece("attacks", 40),)), Stage("checks", (Piece("checks", 40),))))
        bars.start("attacks", 4)
        bars.advance("attacks", 4)
        assert bars._run is not None and len(bars._bars.tasks) == 2
        assert bars._bars.tasks[0].description == "whole run" and bars._bars.tasks[0].completed == pytest.approx(0.5)
