# SPDX-License-Identifier: Apache-2.0
"""Two runs side by side, and what their difference is worth on the same images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.http.render import page
from radproof.api.people.access import Caller, Viewer, owned, visible
from radproof.api.results.chosen import CLEAN, Ladder, ladders, steps
from radproof.api.results.comparing import Line, under
from radproof.api.results.showing import Showing, showing
from radproof.api.service import Here
from radproof.reports.cards import Card, cards
from radproof.reports.reading import BARE, Reading, about
from radproof.reports.tables import Box
from radproof.store.ids import is_id
from radproof.store.tables import Model, Run

router = APIRouter()
PATIENCE = 15.0  # seconds that a page waits; then it says so and asks again
MOST = 100  # runs to choose from
Name = Annotated[str, Query(max_length=40)]


@dataclass(frozen=True)
class Side:
    """One of the two."""

    letter: str
    run: Run
    model: str
    shown: Showing


@dataclass(frozen=True)
class Beside:
    """One figure of each, as its own run has it."""

    title: str
    a: Card | None
    b: Card | None


@dataclass(frozen=True)
class Rung:
    """What stays right at one budget, in either run."""

    goal: str
    budget: str
    a: Box | None
    b: Box | None


@router.get("/compare")
def compare(request: Request, here: Here, who: Viewer, a: Name = "", b: Name = "") -> Response:
    """`a` and `b`: runs that are done, or models (then their newest runs on the same data)."""
    with here.database.reading() as session:
        runs = _runs(session, who)
        names = dict(
            session.execute(select(Model.id, Model.name).where(Model.id.in_({r.model_id for r in runs}))).all()
        )
        chosen = _pair(session, who, a, b)
        for run in filter(None, chosen):
            names.setdefault(run.model_id, owned(session, Model, run.model_id, who).name)
    sides = [
        Side(letter, run, names[run.model_id], showing(here.settings, run)) if run else None
        for letter, run in zip("AB", chosen, strict=True)
    ]
    one, other = sides
    both = one is not None and other is not None
    found = here.comparisons.get(here.settings, one.run, other.run, who.user_id, PATIENCE) if one and other else None
    return page(
        request,
        "compare",
        title="Compare",
        runs=runs,
        names=names,
        sides=sides,
        both=both,
        found=found,
        doubted=_doubted(found.lines, [one, other]) if found and one and other else {},
        beside=_beside(one, other) if one and other else [],
        rungs=_rungs(one, other) if one and other else [],
    )


def _runs(session: Session, who: Caller) -> list[Run]:
    asked = visible(Run, who).where(Run.state == "done").order_by(Run.created.desc(), Run.id).limit(MOST)
    return list(session.execute(asked).scalars())


def _pair(session: Session, who: Caller, a: str, b: str) -> tuple[Run | None, Run | None]:
    """The runs that are meant. Of models those on the same data, the newest first."""
    ours, theirs = _meant(session, who, a), _meant(session, who, b)
    for one in ours:
        for other in theirs:
            if one.data_id == other.data_id and one.id != other.id:
                return one, other
    return next(iter(ours), None), next(iter(theirs), None)


def _meant(session: Session, who: Caller, name: str) -> list[Run]:
    if not name:
        return []
    if not is_id(name, "mdl"):
        run = owned(session, Run, name, who)
        if run.state != "done":
            raise Problem(404, f"this run has no result to compare: its state is {run.state}")
        return [run]
    model = owned(session, Model, name, who)
    asked = visible(Run, who).where(Run.model_id == model.id, Run.state == "done")
    found = list(session.execute(asked.order_by(Run.created.desc(), Run.id).limit(MOST)).scalars())
    if not found:
        raise Problem(404, "this model has no run that is done; start one at /assess")
    return found


def _beside(one: Side, other: Side) -> list[Beside]:
    ours, theirs = ({card.title: card for card in cards(side.shown.reading)} for side in (one, other))
    return [Beside(title, ours.get(title), theirs.get(title)) for title in dict.fromkeys((*ours, *theirs))]


def _doubted(lines: Sequence[Line], sides: Sequence[Side]) -> dict[Line, list[tuple[Side, tuple[int, ...]]]]:
    """Lines about whose figures a serious doubt stands in either run, and which ones."""
    told = [(side, _serious(side.shown.reading)) for side in sides]
    found = {
        line: [(side, numbers) for side, known in told if (numbers := known(line.what, line.budget, line.defense))]
        for line in lines
    }
    return {line: numbers for line, numbers in found.items() if numbers}


def _serious(reading: Reading) -> Callable[[str, str, str], tuple[int, ...]]:
    """(what, budget, defence) of a comparison's line -> serious doubts about that figure, or about everything."""
    found: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for defense in (BARE, *reading.defenses):
        own = "" if defense == BARE else defense
        found["clean images", "", own] = reading.serious(*about(reading.clean(defense)))
        for goal in reading.goals:
            for rung in reading.budgets:
                cell = reading.headline(defense, goal, rung.eps)
                found[under(goal), rung.label, own] = reading.serious(*about(cell))
    return lambda what, budget, defense: found.get((what, budget, defense), reading.serious())


def _rungs(one: Side, other: Side) -> list[Rung]:
    """Without a defence, for goals that both have."""
    ours, theirs = _bare(one.shown), _bare(other.shown)
    goals = {goal for goal, _ in ours} & {goal for goal, _ in theirs}
    keys = [key for key in dict.fromkeys((*ours, *theirs)) if key[0] in goals]
    return [Rung(goal, budget, ours.get((goal, budget)), theirs.get((goal, budget))) for goal, budget in keys]


def _bare(shown: Showing) -> dict[tuple[str, str], Box]:
    reading = shown.reading
    words = (CLEAN, *steps(reading)[1:])
    return {
        (ladder.title, word): box
        for ladder in ladders(reading)
        for word, box in zip(words, _row(ladder), strict=True)
        if box.shown
    }


def _row(ladder: Ladder) -> tuple[Box, ...]:
    return next(boxes for name, boxes in ladder.rows if name == BARE)
