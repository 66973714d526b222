"""What is written to a terminal cannot command it, and progress that nobody announced stops nothing."""

import io

import pytest

from radproof.cli import console
from radproof.cli.console import Bars, harmless, print_lines, print_table

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
