# SPDX-License-Identifier: Apache-2.0
"""What came of reader tests: of each reader, of all who looked together, and of a whole list in three questions.

The pool is of readers who finished, were attentive, and did not make the test: who made it knows too much. Others are
shown beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import groupby

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.readers.asking import Side, Standing, arranged, is_catch, standing
from radproof.measure.choice import Choice, certain, forced_choice
from radproof.measure.sides import Attention, attention
from radproof.store.tables import ReaderAnswer, ReaderTest


@dataclass(frozen=True)
class Trial:
    """One reader's answer, with the truth."""

    number: int
    answer: Side
    altered: Side
    seconds: float
    catch: bool  # plain to see, and not counted

    @property
    def correct(self) -> bool:
        """Whether the altered image was found."""
        return self.answer == self.altered


@dataclass(frozen=True)
class Reader:
    """One who finished."""

    name: str  # "Reader 1" …, in the order in which they finished
    choice: Choice
    attention: Attention
    maker: bool  # of the test
    pooled: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a test; `own` and its trials where the caller finished it."""

    own: Reader | None
    trials: tuple[Trial, ...]
    readers: tuple[Reader, ...]
    pooled: Choice


@dataclass(frozen=True)
class Listed:
    """A test in a list: how far the caller is, and of the others what the caller may know."""

    test: ReaderTest
    own: Standing
    finished: int  # readers
    pooled: Choice | None


def outcome(session: Session, test: ReaderTest, who: Caller, *, maker: bool = False) -> Outcome:
    """What came of it so far; `maker`: with the test's maker in the pool.

    Raises Problem 403 for others than developers and those who finished.
    """
    own = standing(session, test, who.user_id)
    if not own.finished and not who.may("developer"):
        raise Problem(403, f"the outcome is told after the last trial; {own.answered} of {own.trials} are answered")
    done = _done(test, _Answers(session, (test,)).of(test.id))
    found = {
        user: _reader(test, user, answers, f"Reader {n}{' (you)' if user == who.user_id else ''}", maker)
        for n, (user, answers) in enumerate(done.items(), 1)
    }
    return Outcome(
        own=found.get(who.user_id),
        trials=_trials(test, who.user_id, done[who.user_id]) if who.user_id in done else (),
        readers=tuple(found.values()),
        pooled=_pooled(test, {user: done[user] for user, one in found.items() if one.pooled}),
    )


def listed(session: Session, tests: Sequence[ReaderTest], who: Caller) -> list[Listed]:
    """All of a list, with one question about who answered how much and one about answers that are new."""
    per = (ReaderAnswer.test_id, ReaderAnswer.user_id)
    asked = select(*per, func.count(), func.max(ReaderAnswer.at)).group_by(*per)
    rows = session.execute(asked.where(ReaderAnswer.test_id.in_([one.id for one in tests]))).all() if tests else []
    counts = {(test, user): (count, last) for test, user, count, last in rows}
    answers = _Answers(session, tuple(tests))
    found: list[Listed] = []
    for test in tests:
        own = Standing(len(test.trials), counts.get((test.id, who.user_id), (0, None))[0])
        if not own.finished and not who.may("developer"):
            found.append(Listed(test, own, 0, None))
            continue
        done = [told for (name, _), told in counts.items() if name == test.id and 0 < own.trials <= told[0]]
        last = max((at for _, at in done), default=None)
        pooled = _settled(test.id, len(done), last, _Asked(test, answers)) if done else None
        found.append(Listed(test, own, len(done), pooled))
    return found


class _Answers:
    """Of several tests, fetched at once and only if somebody asks."""

    def __init__(self, session: Session, tests: tuple[ReaderTest, ...]) -> None:
        self._session, self._tests = session, tests

    def of(self, test: str) -> Sequence[ReaderAnswer]:
        """In the order in which they were given."""
        return self._all.get(test, [])

    @cached_property
    def _all(self) -> Mapping[str, list[ReaderAnswer]]:
        asked = select(ReaderAnswer).where(ReaderAnswer.test_id.in_([one.id for one in self._tests]))
        found: dict[str, list[ReaderAnswer]] = {}
        for one in self._session.execute(asked.order_by(ReaderAnswer.at, ReaderAnswer.trial)).scalars():
            found.setdefault(one.test_id, []).append(one)
        return found


class _Asked:
    """What an outcome is worked out from, beside a cache's key: equal to every other, for the key tells the answers."""

    def __init__(self, test: ReaderTest, answers: _Answers) -> None:
        self.test, self.answers = test, answers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=512)
def _settled(test: str, finished: int, last: datetime | None, asked: _Asked) -> Choice:
    """The pooled outcome, kept for as long as nobody else finishes."""
    done = _done(asked.test, asked.answers.of(test))
    chosen = {user: found for user, found in done.items() if _reader(asked.test, user, found, "", False).pooled}
    return _pooled(asked.test, chosen)


def _done(test: ReaderTest, answers: Iterable[ReaderAnswer]) -> dict[str, list[ReaderAnswer]]:
    """Of each reader who finished, in the order in which they did."""
    by_user = sorted(answers, key=lambda one: one.user_id)
    grouped = {user: list(found) for user, found in groupby(by_user, key=lambda one: one.user_id)}
    done = {user: found for user, found in grouped.items() if 0 < len(test.trials) <= len(found)}
    return dict(sorted(done.items(), key=lambda told: max(one.at for one in told[1])))


def _reader(test: ReaderTest, user: str, answers: list[ReaderAnswer], name: str, maker: bool) -> Reader:
    choice = _choice(test, answers)
    caught = [one.correct for one in answers if is_catch(test, one.trial)]
    left = choice.sides.left if choice.sides else choice.proportion
    judged = attention(caught, left, [one.seconds for one in answers])
    made = user == test.created_by
    pooled = judged.attentive and (maker or not made)
    return Reader(name, certain(choice, sum(caught), len(caught)), judged, made, pooled)


def _pooled(test: ReaderTest, chosen: Mapping[str, list[ReaderAnswer]]) -> Choice:
    every = [one for answers in chosen.values() for one in answers]
    caught = [one.correct for one in every if is_catch(test, one.trial)]
    return certain(_choice(test, every, len(chosen)), sum(caught), len(caught))


def _choice(test: ReaderTest, answers: list[ReaderAnswer], readers: int = 1) -> Choice:
    counted = [one for one in answers if not is_catch(test, one.trial)]
    samples = [str(test.trials[one.trial]["sample"]) for one in counted]
    left = [one.answer == "left" for one in counted]
    return forced_choice([one.correct for one in counted], samples, readers=readers, left=left)


def _trials(test: ReaderTest, user_id: str, answers: list[ReaderAnswer]) -> tuple[Trial, ...]:
    given = {one.trial: one for one in answers}
    told = enumerate(arranged(test, user_id), 1)
    return tuple(
        Trial(
            number,
            "left" if given[place].answer == "left" else "right",
            altered,
            given[place].seconds,
            is_catch(test, place),
        )
        for number, (place, altered) in told
    )
