# SPDX-License-Identifier: Apache-2.0
"""What came of reader tests: of each reader, of all who looked together, and of a whole list in three questions.

The pool is of readers who finished, were attentive, did not make the test, and had not opened the run's images before
they began, as far as the trail tells: others knew too much, and are shown beside it. Who gave up is in neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import groupby

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.readers.asking import Side, arranged, is_catch
from radproof.api.readers.taking import Before, Key, Standing, Taking, made_of, standing, takings, ways
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.measure.choice import Choice, certain, forced_choice
from radproof.measure.sides import Attention, attention, by_chance, columns, sides_of
from radproof.store.tables import ReaderAnswer, ReaderTest

_SETTLED: BoundedCache[Choice] = BoundedCache(512, MEBIBYTE, lambda _: 2000)


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
    before: Before  # whether they had opened the run's images before they began
    pooled: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a test; `own` and its trials where the caller finished it."""

    own: Reader | None
    trials: tuple[Trial, ...]
    readers: tuple[Reader, ...]
    pooled: Choice
    by_chance: float  # share of readers clicking at random who find every catch trial

    @property
    def blinding(self) -> str:
        """What is known of it, and what cannot be."""
        return _blinding(self.readers)


@dataclass(frozen=True)
class Listed:
    """A test in a list: how far the caller is, and of the others what the caller may know."""

    test: ReaderTest
    own: Standing
    finished: int  # readers
    pooled: Choice | None


def may_know(own: Standing, who: Caller) -> bool:
    """Whether somebody who is so far may know what a test is made of, and how others did."""
    return own.finished or own.given_up or (who.may("developer") and not own.unfinished)


def outcome(session: Session, test: ReaderTest, who: Caller, *, maker: bool = False, opened: bool = False) -> Outcome:
    """What came of it so far; the pool with the test's `maker`, with those who had `opened` the run before.

    Raises Problem 403 in the middle of the test; and before it, for others than developers.
    """
    own = standing(session, test, who.user_id)
    if not may_know(own, who):
        links = ways(test.id) if own.unfinished else ()
        words = f"the outcome is told after the last trial; {own.answered} of {own.trials} are answered"
        raise Problem(403, words, links=links)
    known = takings(session, (test.id,))
    done = _done(test, _Answers(session, (test,), known))
    found = {
        user: _reader(test, user, answers, known, f"Reader {n}{' (you)' if user == who.user_id else ''}")
        for n, (user, answers) in enumerate(done.items(), 1)
    }
    found = {user: replace(one, pooled=_counts(one, maker, opened)) for user, one in found.items()}
    return Outcome(
        own=found.get(who.user_id),
        trials=_trials(test, who.user_id, done[who.user_id]) if who.user_id in done else (),
        readers=tuple(found.values()),
        pooled=_pooled(test, {user: done[user] for user, one in found.items() if one.pooled}),
        by_chance=by_chance(sum(is_catch(test, place) for place in range(len(test.trials)))),
    )


def listed(session: Session, tests: Sequence[ReaderTest], who: Caller) -> list[Listed]:
    """All of a list: a question about who answered how much, one about who began, one about answers that are new."""
    per = (ReaderAnswer.test_id, ReaderAnswer.user_id)
    asked = select(*per, func.count(), func.max(ReaderAnswer.at)).group_by(*per)
    rows = session.execute(asked.where(ReaderAnswer.test_id.in_([one.id for one in tests]))).all() if tests else []
    counts = {(test, user): (count, last) for test, user, count, last in rows}
    known = takings(session, [one.id for one in tests]) if tests else {}
    answers = _Answers(session, tuple(tests), known)
    found: list[Listed] = []
    for test in tests:
        key = test.id, who.user_id
        own = made_of(len(test.trials), counts.get(key, (0, None))[0], known.get(key))
        if not may_know(own, who):
            found.append(Listed(test, own, 0, None))
            continue
        done = [
            count
            for key, count in counts.items()
            if key[0] == test.id and made_of(own.trials, count[0], known.get(key)).finished
        ]
        last = max((at for _, at in done), default=None)
        pooled = _settled(test, len(done), last, answers) if done else None
        found.append(Listed(test, own, len(done), pooled))
    return found


class _Answers:
    """Of several tests, fetched at once and only if somebody asks; beside them what is known of their readers."""

    def __init__(self, session: Session, tests: tuple[ReaderTest, ...], known: Mapping[Key, Taking]) -> None:
        self._session, self._tests, self.known = session, tests, known

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


def _settled(test: ReaderTest, finished: int, last: datetime | None, answers: _Answers) -> Choice:
    """The pooled outcome, kept for as long as nobody else finishes."""

    def make() -> Choice:
        known = answers.known
        done = _done(test, answers)
        return _pooled(test, {user: own for user, own in done.items() if _reader(test, user, own, known, "").pooled})

    return _SETTLED.get((test.id, finished, last), make)


def _done(test: ReaderTest, answers: _Answers) -> dict[str, list[ReaderAnswer]]:
    """Of each reader who finished, in the order in which they did."""
    by_user = sorted(answers.of(test.id), key=lambda one: one.user_id)
    grouped = {user: list(found) for user, found in groupby(by_user, key=lambda one: one.user_id)}
    known, trials = answers.known, len(test.trials)
    ended = {user: made_of(trials, len(found), known.get((test.id, user))) for user, found in grouped.items()}
    done = {user: found for user, found in grouped.items() if ended[user].finished}
    return dict(sorted(done.items(), key=lambda told: max(one.at for one in told[1])))


def _reader(test: ReaderTest, user: str, answers: list[ReaderAnswer], known: Mapping[Key, Taking], name: str) -> Reader:
    choice = _choice(test, answers)
    caught = [one.correct for one in answers if is_catch(test, one.trial)]
    used = sides_of(columns([one.answer == "left" for one in answers], [one.correct for one in answers]))
    judged = attention(caught, used.left, [one.seconds for one in answers])
    before = known.get((test.id, user), Taking()).before
    found = Reader(
        name, certain(choice, sum(caught), len(caught)), judged, user == test.created_by, before, pooled=False
    )
    return replace(found, pooled=_counts(found))


def _counts(one: Reader, maker: bool = False, opened: bool = False) -> bool:
    """Whether a reader belongs to the pool."""
    return one.attention.attentive and (maker or not one.maker) and (opened or one.before != "yes")


def _blinding(readers: Sequence[Reader]) -> str:
    opened, unknown = (sum(one.before == word for one in readers) for word in ("yes", "not known"))
    told = f"{opened} of {len(readers)} readers had opened the images of this run on this server before they began"
    told += ", and are told apart and not counted" if opened else ""
    more = f"; of {unknown} it is not known, nor whether they looked the run up during the test" if unknown else ""
    return (
        f"{told}{more}. {'To the others the' if unknown else 'The'} pages of the run were closed during the test. That "
        "none of them saw the run's files elsewhere, under another account or on somebody else's screen cannot be "
        "established: the blinding of people who may open the run rests on their word."
    )


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
