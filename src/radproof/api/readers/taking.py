# SPDX-License-Identifier: Apache-2.0
"""How far somebody is with a reader test: begun with its first pair, then finished, or given up for good.

Beginnings and ends are events of the trail, which nobody can take back. A beginning says what was known of the reader
then: whether they had opened the images of the run before. While a test is unfinished, its run is closed to them, and
so are runs that show the same originals (closing.py); and no image is screened for them in its project, whose verdict
on a trial's two images would tell them apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.service import Service
from radproof.store.tables import DataSet, Event, ReaderAnswer, ReaderTest, Run

BEGIN, FINISH, GIVE_UP = "reader.begin", "reader.finish", "reader.give_up"
VIEW = "run.view"  # somebody opened images of a run; the first time is told
OPENED = (VIEW, "run.export")
GONE = "you gave this test up; that is final, and your answers do not count"
MIDDLE = (
    "you are in the middle of a reader test on these images: until you have finished it or given it up, other pages "
    "that show them, and reports about them, are closed to you, for they would tell its answers"
)
UNSCREENED = (
    "you are in the middle of a reader test: until you have finished it or given it up, no image is screened for you "
    "in its project, for the answer could tell that of the test"
)
Before = Literal["yes", "no", "not known"]  # whether somebody had opened the images before they began
Key = tuple[str, str]  # test, user


@dataclass(frozen=True)
class Taking:
    """What the trail tells of one reader and one test."""

    before: Before = "not known"
    given_up: bool = False


@dataclass(frozen=True)
class Standing:
    """How far one reader is."""

    trials: int
    answered: int
    begun: bool = False
    given_up: bool = False

    @property
    def finished(self) -> bool:
        """Whether the truth may be told, and the answers count."""
        return not self.given_up and 0 < self.trials <= self.answered

    @property
    def unfinished(self) -> bool:
        """Begun, and neither finished nor given up."""
        return self.begun and not (self.finished or self.given_up)

    @property
    def next(self) -> int:
        """The number of the trial that is to be answered, from 1."""
        return self.answered + 1


def made_of(trials: int, answered: int, taking: Taking | None) -> Standing:
    """From what is known; who answered before beginnings were told has begun too."""
    begun = taking is not None or answered > 0
    return Standing(trials, answered, begun, taking is not None and taking.given_up)


def takings(session: Session, tests: Iterable[str], user_id: str | None = None) -> Mapping[Key, Taking]:
    """Of everybody, or one, who began or gave up one of these tests: one question."""
    asked = select(Event.object, Event.actor, Event.action, Event.detail).where(
        Event.object.in_(list(tests)), Event.action.in_((BEGIN, GIVE_UP))
    )
    asked = asked if user_id is None else asked.where(Event.actor == user_id)
    before: dict[Key, Before] = {}
    ended: set[Key] = set()
    for test, user, action, detail in session.execute(asked.order_by(Event.number.desc())):
        if action == GIVE_UP:
            ended.add((test, user))
        else:  # the first one stands
            before[test, user] = "yes" if detail.get("opened") else "no"
    return {key: Taking(before.get(key, "not known"), key in ended) for key in {*before, *ended}}


def standings(session: Session, tests: Sequence[ReaderTest], user_id: str) -> dict[str, Standing]:
    """How far somebody is with each test, in two questions."""
    names = [one.id for one in tests]
    asked = select(ReaderAnswer.test_id, func.count()).where(
        ReaderAnswer.user_id == user_id, ReaderAnswer.test_id.in_(names)
    )
    counts = {name: count for name, count in session.execute(asked.group_by(ReaderAnswer.test_id)).all()}
    told = takings(session, names, user_id)
    return {one.id: made_of(len(one.trials), counts.get(one.id, 0), told.get((one.id, user_id))) for one in tests}


def standing(session: Session, test: ReaderTest, user_id: str) -> Standing:
    """How far somebody is."""
    return standings(session, [test], user_id)[test.id]


def unfinished(session: Session, run: Run, user_id: str) -> ReaderTest | None:
    """A test that this person began and has not ended, of this run or of one with the same originals."""
    asked = select(ReaderTest).where(ReaderTest.run_id.in_(_alike(run)))
    tests = list(session.execute(asked).scalars())
    own = standings(session, tests, user_id) if tests else {}
    return next((one for one in tests if own[one.id].unfinished), None)


def middles(session: Session, who: Caller) -> dict[str, str]:
    """Projects in which somebody is in the middle of a test -> one such test."""
    begun = select(Event.object).where(Event.actor == who.user_id, Event.action == BEGIN)
    answered = select(ReaderAnswer.test_id).where(ReaderAnswer.user_id == who.user_id)
    asked = select(ReaderTest).where(ReaderTest.project_id.in_(who.projects))
    tests = list(session.execute(asked.where(or_(ReaderTest.id.in_(begun), ReaderTest.id.in_(answered)))).scalars())
    own = standings(session, tests, who.user_id) if tests else {}
    return {one.project_id: one.id for one in tests if own[one.id].unfinished}


def check_unread(session: Session, who: Caller, project: str) -> None:
    """Before an image is screened. Raises Problem 403 in the middle of a test of that project."""
    test = middles(session, who).get(project)
    if test is not None:
        raise Problem(403, UNSCREENED, links=ways(test))


def begin(service: Service, session: Session, who: Caller, test: ReaderTest) -> None:
    """Begin it, if it is not begun. Raises Problem 409: given up, or another one on the same images is unfinished."""
    now = standing(session, test, who.user_id)
    if now.given_up:
        raise Problem(409, GONE)
    run = session.get(Run, test.run_id)
    if now.begun or not now.trials or run is None:
        return
    other = unfinished(session, run, who.user_id)
    if other is not None:
        raise Problem(409, f"{MIDDLE}; so is this test", links=ways(other.id))
    opened = _opened(session, run, who.user_id)
    own = {"actor": who.user_id, "object": test.id, "project": test.project_id}
    service.trail.add(session, BEGIN, **own, opened=opened)


def give_up(service: Service, session: Session, who: Caller, test: ReaderTest) -> Standing:
    """End it for good without an outcome; a second time changes nothing. Raises Problem 409: not begun, or finished."""
    now = standing(session, test, who.user_id)
    if not now.begun or now.finished:
        raise Problem(409, "this test is finished" if now.begun else "this test is not begun; there is nothing to end")
    if not now.given_up:
        own = {"actor": who.user_id, "object": test.id, "project": test.project_id}
        service.trail.add(session, GIVE_UP, **own, answered=now.answered)
    return Standing(now.trials, now.answered, True, True)


def ways(test: str) -> tuple[tuple[str, str], ...]:
    """Links out of the middle of a test."""
    return (f"/readers/{test}", "Go on with the test"), (f"/readers/{test}/give-up", "Give the test up")


def _opened(session: Session, run: Run, user_id: str) -> bool:
    """Whether somebody opened images of the run before, or of one like it, or took another test on them."""
    tests = select(ReaderTest.id).where(ReaderTest.run_id.in_(_alike(run)))
    taken = Event.object.in_(tests) & (Event.action == BEGIN)
    viewed = Event.object.in_(_alike(run)) & Event.action.in_(OPENED)
    told = select(Event.number).where(Event.actor == user_id, taken | viewed).limit(1)
    answers = select(ReaderAnswer.trial).where(ReaderAnswer.user_id == user_id, ReaderAnswer.test_id.in_(tests))
    return any(session.execute(one.limit(1)).first() is not None for one in (told, answers))


def _alike(run: Run) -> Select[str]:
    """Names of the project's runs that may show the same originals.

    All on its data set, or on another upload of the same images; of a run without a data set, whose images are drawn:
    all such runs.
    """
    same: ColumnElement[bool] = Run.data_id.is_(None)
    if run.data_id is not None:
        told = DataSet.facts["fingerprint"].as_string()
        own = select(told).where(DataSet.id == run.data_id).scalar_subquery()
        twins = select(DataSet.id).where(DataSet.project_id == run.project_id, told != "", told == own)
        same = or_(Run.data_id == run.data_id, Run.data_id.in_(twins))
    return select(Run.id).where(Run.project_id == run.project_id, same)
