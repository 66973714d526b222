# SPDX-License-Identifier: Apache-2.0
"""Reader tests."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from radproof.api.front.idempotency import Single
from radproof.api.http.etags import conditional, unchanged
from radproof.api.http.paging import Cursor, Limit, Page, paged
from radproof.api.http.problems import responses
from radproof.api.people.access import Caller, Clinician, Developer, Viewer, owned, visible
from radproof.api.readers import asking, outcomes
from radproof.api.readers.asking import MOST, Side, Wish
from radproof.api.readers.blinded import response, side
from radproof.api.readers.taking import Before, Standing, give_up, standing, standings
from radproof.api.service import Here
from radproof.core.records import Estimate
from radproof.measure.choice import Choice, Verdict, shown
from radproof.measure.sides import Attention, Sides
from radproof.store.tables import ReaderTest

router = APIRouter(tags=["readers"])
_Number = Path(ge=1, le=MOST, description="Of the trial, from 1, in the caller's own order.")
_PNG = {200: {"content": {"image/png": {}}, "description": "The image."}}


class NewReaderTest(BaseModel, extra="forbid"):
    """A test to make from a finished run."""

    run: str = Field(max_length=40)
    attack: str = Field(max_length=200)
    budget: str = Field("", max_length=40, description="As the run's images have it: 4/255; empty for none.")
    trials: int = Field(
        40, ge=1, le=MOST, description="Catch trials are among them: one in ten, 5 to 10 of 20 or more."
    )
    name: str = Field("", max_length=120, description="What readers see: let it not tell the attack.")
    fooling: bool = Field(True, description="Only images that fooled the model.")
    seed: int | None = Field(None, ge=0, lt=2**62)


class ReaderTestOut(BaseModel):
    """A test; what it is made of is told to those who finished it, and to developers not in the middle of it."""

    id: str
    project: str
    name: str
    created: datetime
    trials: int
    answered: int = Field(description="By the caller.")
    finished: bool = Field(description="By the caller.")
    begun: bool = Field(description="By the caller: until the end the run is closed to them.")
    given_up: bool = Field(description="By the caller, for good.")
    run: str | None
    attack: str | None
    budget: str | None
    catch_trials: int | None = Field(description="Of the trials: plain to see, and not counted.")


class NewAnswer(BaseModel, extra="forbid"):
    """Which of the two images was altered."""

    answer: Side
    seconds: float = Field(ge=0, le=10**6, description="That it took; an hour at most is kept.")


class Progress(BaseModel):
    """How far the caller is."""

    trials: int
    answered: int
    finished: bool
    given_up: bool


class ChoiceOut(BaseModel):
    """What answers support."""

    answers: int
    correct: int
    images: int
    readers: int
    proportion: Estimate
    d_prime: Estimate = Field(description="6 stands for that or more, -6 for that or less.")
    sides: Sides | None = Field(description="By the altered side, with d′ free of a bias for one side.")
    verdict: Verdict
    reason: str
    shown: str
    sentence: str


class TrialOut(BaseModel):
    """One of the caller's trials, with the truth."""

    number: int
    answer: Side
    altered: Side
    correct: bool
    seconds: float
    catch: bool = Field(description="Plain to see, and not counted.")


class ReaderOut(BaseModel):
    """One who finished; names are not told."""

    reader: str
    outcome: ChoiceOut
    attention: Attention
    attentive: bool
    made_the_test: bool
    opened_before: Before = Field(description="Whether they had opened the run's images before they began.")
    pooled: bool = Field(description="Counted in the pool.")


class OutcomeOut(BaseModel):
    """What came of a test, over readers who finished it; the pool is of those who were attentive and knew no more."""

    own: ChoiceOut | None
    trials: list[TrialOut]
    readers: list[ReaderOut]
    pooled: ChoiceOut
    passing_by_chance: float = Field(description="Share of readers clicking at random who find every catch trial.")
    blinding: str = Field(description="What is known of it, and what cannot be.")


def seen(session: Session, test: ReaderTest, who: Caller, own: Standing | None = None) -> ReaderTestOut:
    """A test as this caller may see it; `own`: how far they are, where that is known."""
    own = own or standing(session, test, who.user_id)
    open_ = outcomes.may_know(own, who)
    return ReaderTestOut(
        id=test.id,
        project=test.project_id,
        name=test.name,
        created=test.created,
        trials=own.trials,
        answered=own.answered,
        finished=own.finished,
        begun=own.begun,
        given_up=own.given_up,
        run=test.run_id if open_ else None,
        attack=str(test.choice.get("attack", "")) if open_ else None,
        budget=str(test.choice.get("budget", "")) if open_ else None,
        catch_trials=sum(bool(one.get("catch")) for one in test.trials) if open_ else None,
    )


@router.get("/readers", responses=responses(401, 422))
def list_reader_tests(here: Here, who: Viewer, cursor: Cursor = None, limit: Limit = 50) -> Page[ReaderTestOut]:
    """Reader tests of the caller's projects, newest first."""
    with here.database.reading() as session:
        found, after = paged(session, visible(ReaderTest, who), ReaderTest, cursor, limit)
        own = standings(session, found, who.user_id)
        return Page(items=[seen(session, one, who, own[one.id]) for one in found], next=after)


@router.post("/readers", status_code=201, response_model=ReaderTestOut, responses=responses(401, 403, 404, 409, 422))
def make_reader_test(here: Here, who: Developer, wanted: NewReaderTest, single: Single) -> Response:
    """A blinded two-alternative forced choice between originals and attacked images of a finished run."""
    with here.database.reading() as session:
        test = asking.drawn(here, session, who, Wish(**wanted.model_dump()))

    def work(session: Session) -> ReaderTestOut:
        return seen(session, asking.keep(here, session, who, test), who)

    return single.made(wanted, work, "/api/v1/readers")


@router.get("/readers/{id}", response_model=ReaderTestOut, responses=responses(401, 403, 404))
def read_reader_test(request: Request, here: Here, who: Clinician, id: str) -> Response:
    """One test, and how far the caller is."""
    with here.database.reading() as session:
        return conditional(request, seen(session, owned(session, ReaderTest, id, who), who))


@router.delete("/readers/{id}", status_code=204, responses=responses(401, 403, 404, 412))
def remove_reader_test(request: Request, here: Here, who: Developer, id: str) -> Response:
    """A test with all of its answers."""
    with here.database.writing() as session:
        unchanged(request, seen(session, owned(session, ReaderTest, id, who), who))
        asking.remove(here, session, who, id)
    return Response(status_code=204)


@router.get(
    "/readers/{id}/trials/{number}/{which}.png",
    response_class=Response,
    responses={**responses(401, 403, 404, 409, 422), **_PNG},
)
def read_trial_image(
    here: Here, who: Clinician, id: str, which: Literal["left", "right"], number: int = _Number
) -> Response:
    """One image of the trial that is to be answered, or of an earlier one. The first one begins the test."""
    return response(side(here, who, id, number, which))


@router.post("/readers/{id}/trials/{number}", status_code=201, responses=responses(401, 403, 404, 409, 422))
def answer_trial(here: Here, who: Clinician, id: str, given: NewAnswer, number: int = _Number) -> Progress:
    """Which image of the next trial was altered: once, and in order."""
    with here.database.writing() as session:
        test = owned(session, ReaderTest, id, who)
        now = asking.answer(here, session, who, test, number, given.answer, given.seconds)
    return _progress(now)


@router.post("/readers/{id}/give-up", responses=responses(401, 403, 404, 409))
def give_up_reader_test(here: Here, who: Clinician, id: str) -> Progress:
    """End a test that the caller began: for good, and their answers do not count. The run is open to them again."""
    with here.database.writing() as session:
        return _progress(give_up(here, session, who, owned(session, ReaderTest, id, who)))


@router.get("/readers/{id}/outcome", responses=responses(401, 403, 404))
def read_outcome(
    here: Here,
    who: Clinician,
    id: str,
    maker: Annotated[bool, Query(description="Count the one who made the test in the pool too.")] = False,
    opened: Annotated[bool, Query(description="Count readers who had opened the run before too.")] = False,
) -> OutcomeOut:
    """What came of it; for those who finished it or gave it up, and for developers."""
    with here.database.reading() as session:
        found = outcomes.outcome(session, owned(session, ReaderTest, id, who), who, maker=maker, opened=opened)
    return OutcomeOut(
        own=_choice(found.own.choice) if found.own else None,
        trials=[
            TrialOut(
                number=one.number,
                answer=one.answer,
                altered=one.altered,
                correct=one.correct,
                seconds=one.seconds,
                catch=one.catch,
            )
            for one in found.trials
        ],
        readers=[_reader(one) for one in found.readers],
        pooled=_choice(found.pooled),
        passing_by_chance=found.by_chance,
        blinding=found.blinding,
    )


def _progress(now: Standing) -> Progress:
    return Progress(trials=now.trials, answered=now.answered, finished=now.finished, given_up=now.given_up)


def _reader(one: outcomes.Reader) -> ReaderOut:
    return ReaderOut(
        reader=one.name,
        outcome=_choice(one.choice),
        attention=one.attention,
        attentive=one.attention.attentive,
        made_the_test=one.maker,
        opened_before=one.before,
        pooled=one.pooled,
    )


def _choice(one: Choice) -> ChoiceOut:
    return ChoiceOut(**dict(one), shown=shown(one.d_prime), sentence=one.sentence)
