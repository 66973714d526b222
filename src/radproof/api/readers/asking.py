# SPDX-License-Identifier: Apache-2.0
"""Reader tests: originals beside attacked images, and whether people can tell which is which, blinded.

The order of trials and the side of the attacked image are drawn for each reader from the test's seed and the
reader's name: readers who talk to each other learn nothing, and a habit of one reader falls on no image twice. Which
side it was is told to nobody before their own last answer; how others did, to those who finished and to developers.

Catch trials show the original beside itself with a chequered square that nobody who looks can miss (blinded.py):
they tell readers who look from readers who click, and count for nothing else.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller, owned
from radproof.api.readers.taking import FINISH, Standing, begin, standing
from radproof.api.results.finished import result_json
from radproof.api.results.images import Filters, ImageRow, RunImages, run_images
from radproof.api.service import Service
from radproof.measure.choice import enough
from radproof.measure.sides import catch_trials
from radproof.store.ids import new_id
from radproof.store.tables import ReaderAnswer, ReaderTest, Run

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
MOST = 500  # trials of a test
PAGE = 200
CATCH = "chequered square"  # the alteration of a catch trial, drawn on the original
LONGEST = 3600.0  # seconds of one answer that are kept: longer ones were breaks


@dataclass(frozen=True)
class Wish:
    """What a test is to be made of."""

    run: str
    attack: str
    budget: str
    trials: int
    name: str = ""
    fooling: bool = True  # only images that fooled the model
    seed: int | None = None


def drawn(service: Service, session: Session, who: Caller, wish: Wish) -> ReaderTest:
    """A new test from a finished run, not kept yet: reading the run takes a while. Raises Problem 404, 409, 422."""
    run = owned(session, Run, wish.run, who)
    if run.state != "done":
        raise Problem(409, f"a reader test needs a finished run; this one's state is {run.state}")
    rows = candidates(service, run, wish.attack, wish.budget, fooling=wish.fooling)
    kind = "images that fooled the model" if wish.fooling else "attacked images"
    if not 1 <= wish.trials <= min(MOST, len(rows)):
        most = min(MOST, len(rows))
        told = f"ask for 1 to {most} trials" if rows else "choose another attack or budget, or take all images"
        raise Problem(422, f"the run has {len(rows)} {kind} of this attack and budget, asked for {wish.trials}; {told}")
    seed = secrets.randbits(62) if wish.seed is None else wish.seed
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = sorted(int(one) for one in rng.permutation(len(rows))[: wish.trials])
    catches = {int(one) for one in rng.permutation(wish.trials)[: catch_trials(wish.trials)]}
    return ReaderTest(
        id=new_id("rdr"),
        project_id=run.project_id,
        created_by=who.user_id,
        name=wish.name.strip() or "Reader test",
        run_id=run.id,
        choice={
            "attack": wish.attack,
            "budget": wish.budget,
            "trials": wish.trials,
            "fooling": wish.fooling,
            "catch": {"kind": CATCH, "trials": len(catches)},
        },
        trials=[
            {"image": rows[row].id, "sample": rows[row].sample, "catch": place in catches}
            for place, row in enumerate(chosen)
        ],
        seed=seed,
    )


def keep(service: Service, session: Session, who: Caller, test: ReaderTest) -> ReaderTest:
    """Keep it, in the caller's transaction."""
    session.add(test)
    session.flush()
    project = test.project_id
    service.trail.add(session, "reader.make", actor=who.user_id, object=test.id, project=project, run=test.run_id)
    return test


def candidates(service: Service, run: Run, attack: str, budget: str, *, fooling: bool) -> list[ImageRow]:
    """Attacked images of the bare model, one of each original; those made on the model itself first."""
    images = run_images(service.settings, run)
    chosen = Filters(attack=attack, budget=budget, defense="none", outcome="fooled" if fooling else None)
    rows: list[ImageRow] = []
    cursor = None
    while True:
        found, cursor = images.page(chosen, cursor, PAGE)
        rows += found
        if cursor is None:
            break
    first: dict[str, ImageRow] = {}
    for row in sorted(rows, key=lambda row: row.column != "oblivious"):
        first.setdefault(row.sample, row)
    return list(first.values())


def originals(images: RunImages, attack: str, budget: str) -> tuple[int, int]:
    """How many originals an attack was tried on at a budget, and how many of those fooled: what candidates has."""
    samples = images.table.texts["sample"].codes
    told = {"attack": attack, "budget": budget, "defense": "none"}
    every, fooled = (images.table.where(told | more) for more in ({}, {"outcome": "fooled"}))
    return len(np.unique(samples[every])), len(np.unique(samples[fooled]))


def enough_trials() -> int:
    """The fewest trials whose answers, catch trials aside, can establish that one reader could not tell."""
    need = trials = enough()
    while trials - catch_trials(trials) < need:
        trials += 1
    return trials


def is_catch(test: ReaderTest, place: int) -> bool:
    """Whether the trial at this place of the test is a catch trial."""
    return bool(test.trials[place].get("catch"))


def phantom(service: Service, session: Session, test: ReaderTest) -> bool:
    """Whether the images are drawn ones, as the run's result says."""
    run = session.get(Run, test.run_id)
    try:
        return run is not None and bool(result_json(service.settings, run).get("phantom"))
    except Problem:
        return False


def remove(service: Service, session: Session, who: Caller, name: str) -> None:
    """A test with all answers. Raises Problem 404."""
    test = owned(session, ReaderTest, name, who)
    session.execute(delete(ReaderAnswer).where(ReaderAnswer.test_id == test.id))
    session.delete(test)
    service.trail.add(session, "reader.remove", actor=who.user_id, object=test.id, project=test.project_id)


def arranged(test: ReaderTest, user_id: str) -> list[tuple[int, Side]]:
    """For one reader, in their order: the trial's place in the test, and the side of the attacked image."""
    told = hashlib.sha256(f"{test.seed} {test.id} {user_id}".encode()).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(told[:16], "big")))
    order = rng.permutation(len(test.trials))
    sides = rng.integers(0, 2, len(test.trials))
    return [(int(place), SIDES[side]) for place, side in zip(order, sides, strict=True)]


def answer(
    service: Service, session: Session, who: Caller, test: ReaderTest, number: int, side: Side, seconds: float
) -> Standing:
    """Keep one answer, once. Raises Problem 404 for no such trial; 409 out of turn, for a second one, or given up."""
    begin(service, session, who, test)
    now = standing(session, test, who.user_id)
    if not 1 <= number <= now.trials:
        raise Problem(404, f"there are trials 1 to {now.trials}")
    if number != now.next:
        why = f"trial {number} is answered" if number < now.next else f"trial {now.next} comes first"
        raise Problem(409, f"{why}; answers are given once and in order")
    place, altered = arranged(test, who.user_id)[number - 1]
    session.add(
        ReaderAnswer(
            test_id=test.id,
            user_id=who.user_id,
            trial=place,
            answer=side,
            correct=side == altered,
            seconds=min(max(seconds, 0.0), LONGEST),
        )
    )
    try:
        session.flush()
    except IntegrityError:
        raise Problem(409, f"trial {number} is answered; answers are given once and in order") from None
    if number == now.trials:
        service.trail.add(session, FINISH, actor=who.user_id, object=test.id, project=test.project_id)
    return Standing(now.trials, number, begun=True)
