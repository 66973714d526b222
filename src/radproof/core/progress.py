# SPDX-License-Identifier: Apache-2.0
"""How long work tells its caller where it is; the library itself prints nothing."""

from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

from radproof.core.whole import Piece, Stage

MOST_STAGES, MOST_PIECES, _NAME, _PASSES = 200, 200, 100, 1e15


class Progress(Protocol):
    """Told of each stage's size and of every unit done; the command line draws a bar with an ETA from it."""

    def start(self, stage: str, total: float) -> None: ...
    def advance(self, stage: str, amount: float = 1.0) -> None: ...
    def note(self, message: str) -> None: ...


@runtime_checkable
class Foretold(Protocol):
    """A Progress that may also be told what is to come."""

    def expect(self, stages: Sequence[Stage]) -> None: ...


class Silent:
    """Tells nobody."""

    def start(self, stage: str, total: float) -> None:
        """Nothing to do."""

    def advance(self, stage: str, amount: float = 1.0) -> None:
        """Nothing to do."""

    def note(self, message: str) -> None:
        """Nothing to do."""


SILENT: Progress = Silent()


def expect(progress: Progress, stages: Sequence[Stage]) -> None:
    """Tell what is to come of a run, where that is listened to; no stages: a run begins and will say so soon."""
    if isinstance(progress, Foretold):
        progress.expect(stages)


def told(stages: Sequence[Stage]) -> list[list[Any]]:
    """Stages as plain JSON; passes with three digits."""
    return [
        [one.name, [[p.kind, round(p.passes, 3), round(p.before, 3), p.pace] for p in one.pieces]] for one in stages
    ]


def heard(value: object) -> tuple[Stage, ...] | None:
    """Stages from plain JSON, whoever wrote it; None where it is not in order."""
    if not isinstance(value, list) or len(cast("list[Any]", value)) > MOST_STAGES:
        return None
    found = [_stage(one) for one in cast("list[Any]", value)]
    kept = tuple(one for one in found if one is not None)
    return kept if len(kept) == len(found) else None


def _stage(value: Any) -> Stage | None:
    match value:
        case [str() as name, list() as pieces] if len(name) <= _NAME and len(cast("list[Any]", pieces)) <= MOST_PIECES:
            found = [_piece(one) for one in cast("list[Any]", pieces)]
            kept = tuple(one for one in found if one is not None)
            return Stage(name, kept) if len(kept) == len(found) else None
        case _:
            return None


def _piece(value: Any) -> Piece | None:
    match value:
        case [str() as kind, passes, before, pace] if len(kind) <= _NAME and all(map(_amount, (passes, before, pace))):
            return Piece(kind, float(passes), float(before), float(pace))
        case _:
            return None


def _amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= _PASSES
