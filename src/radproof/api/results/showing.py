# SPDX-License-Identifier: Apache-2.0
"""What pages show of a finished run: the result read once and its sections drawn once, while the file is the same.

The sections are the report's own; only inline styles go, which the pages' policy refuses.
"""

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError

from radproof.api.http.problems import Problem
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.api.results.finished import PARSED, Stamp, finished, scrubbed_file
from radproof.assess.result import Result
from radproof.reports import charts, facts
from radproof.reports.reading import Reading
from radproof.reports.words import plain, seconds
from radproof.store.settings import Settings
from radproof.store.tables import Run

_STRIP = re.compile(
    r'<span class="strip" aria-hidden="true"><i style="left:([\d.]+)%;width:([\d.]+)%"></i>'
    r'<b style="left:([\d.]+)%"></b></span>'
)
_STYLE = re.compile(r' style="[^"]*"')  # values are escaped, so that only our own templates can write this
_CAPTION = re.compile(r'(<table[^>]*>\s*<caption>[^<]*)((?:<a class="mark"[^>]*>D\d+</a>)+)(</caption>)')
_DRAWN = (
    '<svg class="strip" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
    r'<rect class="all" y="2" width="100" height="6"/><rect class="between" x="\1" y="2" width="\2" height="6"/>'
    r'<rect class="at" x="\3" width="2" height="10"/></svg>'
)


@dataclass(frozen=True)
class Showing:
    """The result of one run, as its file was when it was read."""

    file: Stamp
    reading: Reading

    @property
    def result(self) -> Result:
        """What came out."""
        return self.reading.result

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.file.path.parent

    def drawn(self, name: str, chosen: Hashable, values: Callable[[], dict[str, Any]]) -> Markup:
        """templates/result/NAME.html.j2 with the result, its doubts and what `values` makes; drawn once per choice."""
        return _FRAGMENTS.get((self.file, name, chosen), lambda: self._draw(name, values()))

    def _draw(self, name: str, values: dict[str, Any]) -> Markup:
        doubts = {one.number: one.doubt.message for one in self.reading.doubts}
        told: dict[str, Any] = {"r": self.result, "reading": self.reading, "doubts": doubts, **values}
        text = _environment().get_template(f"{name}.html.j2").render(told)
        text = _CAPTION.sub(r'<p class="about">Concerns all of this table: \2</p>\1\3', text)  # no link in a caption
        return Markup(_STYLE.sub("", _STRIP.sub(_DRAWN, text)))


_RESULTS: BoundedCache[Showing] = BoundedCache(6, 96 * MEBIBYTE, lambda one: PARSED * one.file.size)
_FRAGMENTS: BoundedCache[Markup] = BoundedCache(48, 16 * MEBIBYTE, len)


def showing(settings: Settings, run: Run) -> Showing:
    """A run's result. Raises Problem 404 where there is none, 409 where it cannot be read."""
    file = finished(settings, run)
    home = settings.home.resolve()
    return _RESULTS.get((file, home), lambda: Showing(file, Reading(_read(file, home))))


def _read(file: Stamp, home: Path) -> Result:
    try:
        return Result.model_validate_json(scrubbed_file(file, home))
    except (OSError, UnicodeDecodeError, ValidationError):
        raise Problem(409, "the result cannot be read by this version of radproof; run its plan again") from None


@cache
def _environment() -> Environment:
    """Of fragments: our own first, then the report's macros and sections."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader("radproof.api", "templates/result"), PackageLoader("radproof.reports")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(bound=facts.bound, plain=plain, seconds=seconds, short_path=facts.short_path)
    told: dict[str, Any] = {
        "tones": charts.TONES,
        "dashes": charts.DASHES,
        "shapes": charts.SHAPES,
        "longest": 20,  # items of a list that the page spells out
        "is_estimate": facts.is_estimate,
        "is_grid": facts.is_grid,
        "as_shown": facts.as_shown,
    }
    made.globals.update(told)
    return made
