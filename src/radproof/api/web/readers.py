# SPDX-License-Identifier: Apache-2.0
"""Reader tests as pages: made by a developer, done trial by trial, told at the end."""

import math
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from radproof.api.http.paging import Cursor, paged
from radproof.api.http.problems import Problem
from radproof.api.http.render import page
from radproof.api.people.access import Caller, Clinician, Developer, Viewer, owned, visible
from radproof.api.readers import asking, outcomes
from radproof.api.readers.asking import MOST, Side, Wish
from radproof.api.readers.blinded import response, side
from radproof.api.readers.taking import begin as begun
from radproof.api.readers.taking import give_up, standing
from radproof.api.results.images import Filters, run_images
from radproof.api.screening.answering import NOTICE
from radproof.api.service import Here, Service
from radproof.api.v1.readers import ReaderTestOut, seen
from radproof.measure.choice import shown
from radproof.store.tables import ReaderTest, Run

router = APIRouter()
USUAL = 40  # trials
_Number = Annotated[int, Path(ge=1, le=MOST)]


@router.get("/readers")
def every(request: Request, here: Here, who: Viewer, cursor: Cursor = None) -> Response:
    """All tests of the caller's projects."""
    with here.database.reading() as session:
        found, after = paged(session, visible(ReaderTest, who), ReaderTest, cursor, 25)
        rows = [_row(session, one, who) for one in outcomes.listed(session, found, who)]
    address = f"/readers?cursor={after}" if after else ""
    return page(request, "readers", title="Reader tests", rows=rows, next=address, first="/readers" if cursor else "")


@router.get("/readers/new")
def new(request: Request, here: Here, who: Developer, run: str = "") -> Response:
    """Choose a run; then an attack, a budget and how many trials."""
    return _new(request, here, who, run)


@router.post("/readers/new")
def make(
    request: Request,
    here: Here,
    who: Developer,
    run: Annotated[str, Form(max_length=40)],
    which: Annotated[str, Form(max_length=300)],
    trials: Annotated[str, Form(max_length=10)],
    name: Annotated[str, Form(max_length=120)] = "",
    every: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Make it, and go to it."""
    attack, _, budget = which.rpartition("@")
    wished = int(trials) if trials.isascii() and trials.isdigit() else 0
    try:
        with here.database.reading() as session:
            made = asking.drawn(here, session, who, Wish(run, attack, budget, wished, name, fooling=not every))
        with here.database.writing() as session:
            asking.keep(here, session, who, made)
    except Problem as problem:
        if problem.status != 422:
            raise
        given = {"which": which, "trials": trials, "name": name, "every": every}
        return _new(request, here, who, run, problem.detail, given, 422)
    return RedirectResponse(f"/readers/{made.id}", 303)


@router.get("/readers/{id}")
def one(request: Request, here: Here, who: Clinician, id: str, begin: str = "", outcome: str = "") -> Response:
    """Instructions, the next trial, or the outcome. With `begin` it is begun."""
    if begin:
        _begin(here, who, id)
    with here.database.reading() as session:
        found = owned(session, ReaderTest, id, who)
        told, phantom = seen(session, found, who), asking.phantom(here, session, found)
        if told.finished or told.given_up or (outcome and who.may("developer")):
            return _outcome(request, session, found, told, who, phantom)
    if not told.begun:
        return page(request, "reader_begin", title=told.name, test=told, notice=NOTICE, phantom=phantom)
    made = page(
        request,
        "reader_trial",
        title=told.name,
        test=told,
        number=told.answered + 1,
        shown=f"{time.time():.3f}",
        phantom=phantom,
    )
    made.headers["Cache-Control"] = "no-store"
    return made


@router.post("/readers/{id}")
def answer(
    here: Here,
    who: Clinician,
    id: str,
    trial: Annotated[int, Form(ge=1, le=MOST)],
    answer: Annotated[Side, Form()],
    shown: Annotated[str, Form(max_length=20)] = "",
    seconds: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Keep an answer and go on; one that came twice changes nothing."""
    took = _seconds(seconds) or max(0.0, time.time() - (_seconds(shown) or time.time()))
    try:
        with here.database.writing() as session:
            asking.answer(here, session, who, owned(session, ReaderTest, id, who), trial, answer, took)
    except Problem as problem:
        if problem.status != 409:
            raise
    return RedirectResponse(f"/readers/{id}?begin=1", 303)


@router.get("/readers/{id}/give-up")
def leaving(request: Request, here: Here, who: Clinician, id: str) -> Response:
    """Ask whether it is meant."""
    with here.database.reading() as session:
        test = owned(session, ReaderTest, id, who)
        own = standing(session, test, who.user_id)
    if not own.unfinished:
        return RedirectResponse(f"/readers/{id}", 303)
    return page(request, "reader_give_up", title="Give the test up", test=test, own=own)


@router.post("/readers/{id}/give-up")
def leave(here: Here, who: Clinician, id: str) -> Response:
    """End it for good."""
    with here.database.writing() as session:
        give_up(here, session, who, owned(session, ReaderTest, id, who))
    return RedirectResponse(f"/readers/{id}", 303)


@router.post("/readers/{id}/remove")
def remove(here: Here, who: Developer, id: str) -> Response:
    """Remove it with all answers."""
    with here.database.writing() as session:
        asking.remove(here, session, who, id)
    return RedirectResponse("/readers", 303)


@router.get("/readers/{id}/{number}/{which}.png")
def image(here: Here, who: Clinician, id: str, number: _Number, which: Side) -> Response:
    """One of two images; the address says the trial and the side alone."""
    return response(side(here, who, id, number, which))


def _begin(here: Service, who: Caller, name: str) -> None:
    with here.database.reading() as session:
        own = standing(session, owned(session, ReaderTest, name, who), who.user_id)
    if not (own.begun or own.given_up):
        with here.database.writing() as session:
            begun(here, session, who, owned(session, ReaderTest, name, who))


def _outcome(
    request: Request, session: Session, test: ReaderTest, told: ReaderTestOut, who: Caller, phantom: bool
) -> Response:
    found = outcomes.outcome(session, test, who)
    run = session.get(Run, test.run_id)
    return page(
        request,
        "reader_outcome",
        title=told.name,
        test=told,
        found=found,
        shown=shown,
        run_name=run.name if run else "",
        fooling=bool(test.choice.get("fooling", True)),
        enough=asking.enough_trials(),
        catches=sum(asking.is_catch(test, place) for place in range(len(test.trials))),
        phantom=phantom,
        notice=NOTICE,
    )


def _row(session: Session, one: outcomes.Listed, who: Caller) -> tuple[ReaderTest, ReaderTestOut, tuple[str, str], int]:
    """For the list: verdict, d′ and readers, where this caller may know."""
    told = (one.pooled.verdict, shown(one.pooled.d_prime)) if one.pooled else ("", "")
    return one.test, seen(session, one.test, who, one.own), told, one.finished


def _new(
    request: Request,
    here: Service,
    who: Caller,
    name: str,
    oops: str = "",
    given: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    with here.database.reading() as session:
        run = owned(session, Run, name, who) if name else None
        asked = visible(Run, who).where(Run.state == "done").order_by(Run.created.desc()).limit(50)
        runs = [(one.id, one.name) for one in session.execute(asked).scalars()] if run is None else []
    values = {"which": "", "trials": "", "name": "", "every": "", **(given or {})}
    offers = _offers(here, run) if run else []
    selected = next((one for one in offers if one.value == values["which"]), offers[0] if offers else None)
    if selected and not values["trials"]:
        values["trials"] = str(min(USUAL, selected.every if values["every"] else selected.fooled) or "")
    return page(
        request,
        "reader_new",
        status,
        title="New reader test",
        run=run,
        runs=runs,
        choices=[(one.value, one.words) for one in offers],
        values=values,
        oops=oops,
        enough=asking.enough_trials(),
        most=MOST,
    )


@dataclass(frozen=True)
class _Offer:
    """An attack at a budget, and the originals that a test could be made of."""

    value: str
    words: str
    fooled: int
    every: int


def _offers(here: Service, run: Run) -> list[_Offer]:
    images = run_images(here.settings, run)
    found: list[_Offer] = []
    for attack in images.facets(Filters(defense="none"))["attack"]:
        for one in images.outcome_by_budget(Filters(attack=attack.value, defense="none")):
            every, fooled = asking.originals(images, attack.value, one.budget)
            at = f" at {one.budget}" if one.budget else ""
            words = f"{attack.value}{at}: {fooled} of {every} images fooled the model"
            found.append(_Offer(f"{attack.value}@{one.budget}", words, fooled, every))
    return sorted(found, key=lambda offer: (not offer.fooled, offer.value.endswith("@")))


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
