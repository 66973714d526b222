# SPDX-License-Identifier: Apache-2.0
"""How far a whole run is and how long the rest takes, from the passes it counted before and the time they take here.

A run says its stages before it begins, each in pieces: a kind of work and the passes it still takes. Seconds per pass
are learnt by kind while the run goes on; a kind that was not met yet is taken to be as fast as the others.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

WARM = 3.0  # seconds of counted work before anything is foretold
CHUNK = 0.5  # seconds of work that one reading of the pace rests on, at least
KEPT = 64  # readings of a kind, the latest
FEW = 5  # readings from which their spread is told
USUAL = 0.003  # seconds per pass, while nothing is known: it weighs work against what is told in seconds
APART = 2.0  # half and twice, of what was not met yet


@dataclass(frozen=True)
class Piece:
    """Work of one kind: `passes` still to do, and those that an earlier start did."""

    kind: str
    passes: float
    before: float = 0.0
    pace: float = 0.0  # seconds per pass that are likely; 0: as the passes of other kinds


@dataclass(frozen=True)
class Stage:
    """A stage as a Progress is told of it, with its work in order."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def passes(self) -> float:
        """Still to do."""
        return sum(piece.passes for piece in self.pieces)


@dataclass(frozen=True)
class Left:
    """Seconds that are left, with what they may well lie between."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True)
class _Pace:
    """Seconds per pass."""

    value: float
    low: float
    high: float


class _Readings:
    """Of one kind, the latest."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def add(self, passes: float, seconds: float) -> None:
        """Short ones are taken together."""
        if self._kept and self._kept[-1][1] < CHUNK:
            before, spent = self._kept.pop()
            passes, seconds = passes + before, seconds + spent
        self._kept.append((passes, seconds))

    @property
    def sums(self) -> tuple[float, float]:
        """Passes and seconds."""
        return sum(passes for passes, _ in self._kept), sum(seconds for _, seconds in self._kept)

    @property
    def pace(self) -> _Pace:
        """Of all readings; its range holds four of five of them."""
        passes, seconds = self.sums
        value, found = seconds / passes, sorted(spent / done for done, spent in self._kept)
        if len(found) < FEW:
            return _Pace(value, value / 1.5, value * 1.5)
        cut = len(found) // 10
        return _Pace(value, min(found[cut], value / 1.1), max(found[-1 - cut], value * 1.1))


@dataclass(frozen=True)
class _Paces:
    """Of all kinds at one moment."""

    met: Mapping[str, _Pace]
    usual: float  # seconds per pass of a kind that was not met yet

    def of(self, piece: Piece) -> _Pace:
        """That of its kind, else what is likely."""
        value = piece.pace or self.usual
        return self.met.get(piece.kind) or _Pace(value, value / APART, value * APART)


class Whole:
    """Told of stages as a Progress is, with the time; `share` and `left` are those of the whole run."""

    def __init__(self) -> None:
        self.known = False  # whether a run has said what is to come
        self._readings: dict[str, _Readings] = {}
        self._own: set[str] = set()  # kinds whose pace says nothing about others
        self._warm = 0.0
        self._clear()

    def expect(self, stages: Sequence[Stage]) -> None:
        """What is to come from now on, in order. Nothing: a run begins and will say so soon."""
        self.known = True
        if not stages:
            return self._clear()
        self._leave()
        self._ahead = list(stages)
        for piece in chain.from_iterable(stage.pieces for stage in stages):
            if piece.pace:
                self._own.add(piece.kind)
            self._did(piece, piece.before)

    def start(self, stage: str, total: float, at: float) -> None:
        """A stage begins: those before it are over. One that nobody expected counts for nothing."""
        place = next((n for n, one in enumerate(self._ahead) if one.name == stage), None)
        if place is not None:
            self._leave()
            for one in self._ahead[:place]:
                self._over(one)
            self._now, self._ahead, self._share = self._ahead[place], self._ahead[place + 1 :], 0.0
        elif self._now is None or self._now.name != stage:
            return
        self._begun, self._total, self._last = self._share, max(total, 1e-9), at

    def advance(self, stage: str, done: float, at: float) -> None:
        """So many units of the stage are done."""
        now = self._now
        if now is None or now.name != stage:
            return
        share = self._begun + (1 - self._begun) * min(max(done / self._total, 0.0), 1.0)
        if share <= self._share:
            return
        made = list(_between(now.pieces, self._share * now.passes, share * now.passes))
        spent, passes = max(at - self._last, 0.0), sum(count for _, count in made)
        for piece, count in made:
            self._did(piece, count)
            if spent:
                self._readings.setdefault(piece.kind, _Readings()).add(count, spent * count / passes)
        self._share, self._last, self._warm = share, at, self._warm + (spent if made else 0.0)

    @property
    def share(self) -> float:
        """0 to 1, by time; it never falls while a run goes on."""
        paces = self._paces()
        done = sum(piece.passes * paces.of(piece).value for piece in self._done.values())
        left = sum(piece.passes * paces.of(piece).value for piece in self._rest())
        self._best = max(self._best, done / (done + left) if done + left else 0.0)
        return self._best

    @property
    def left(self) -> Left | None:
        """None while too little was done to tell."""
        if self._warm < WARM or not (self._now or self._ahead):
            return None
        paces = self._paces()
        found = [(piece.passes, paces.of(piece)) for piece in self._rest()]
        return Left(
            sum(passes * pace.value for passes, pace in found),
            sum(passes * pace.low for passes, pace in found),
            sum(passes * pace.high for passes, pace in found),
        )

    def _clear(self) -> None:
        self._ahead: list[Stage] = []
        self._now: Stage | None = None
        self._done: dict[str, Piece] = {}
        self._share = self._begun = self._best = self._last = 0.0
        self._total = 1.0

    def _leave(self) -> None:
        """The stage that was at work is over."""
        if self._now is not None:
            for piece, count in _between(self._now.pieces, self._share * self._now.passes, self._now.passes):
                self._did(piece, count)
        self._now, self._share = None, 0.0

    def _over(self, stage: Stage) -> None:
        for piece in stage.pieces:
            self._did(piece, piece.passes)

    def _did(self, piece: Piece, passes: float) -> None:
        before = self._done.get(piece.kind)
        self._done[piece.kind] = Piece(piece.kind, passes + (before.passes if before else 0.0), pace=piece.pace)

    def _rest(self) -> Iterator[Piece]:
        if self._now is not None:
            whole = self._now.passes
            for piece, count in _between(self._now.pieces, self._share * whole, whole):
                yield Piece(piece.kind, count, pace=piece.pace)
        yield from chain.from_iterable(stage.pieces for stage in self._ahead)

    def _paces(self) -> _Paces:
        """As they are now."""
        found = [one.sums for kind, one in self._readings.items() if kind not in self._own]
        passes = sum(count for count, _ in found)
        usual = sum(seconds for _, seconds in found) / passes if passes else USUAL
        return _Paces({kind: one.pace for kind, one in self._readings.items()}, usual)


def spoken(left: Left) -> str:
    """'about 6 min left (4 to 9 min)'."""
    return f"about {lasting(left.seconds)} left ({lasting(left.low)} to {lasting(left.high)})"


def lasting(seconds: float) -> str:
    """'40 s', '6 min', '2 h 5 min'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _between(pieces: Iterable[Piece], first: float, last: float) -> Iterator[tuple[Piece, float]]:
    """The pieces that passes `first` to `last` of a stage belong to, with how many of each."""
    begins = 0.0
    for piece in pieces:
        ends = begins + piece.passes
        if (count := min(ends, last) - max(begins, first)) > 0:
            yield piece, count
        begins = ends
