# SPDX-License-Identifier: Apache-2.0
"""The page on which a clinician screens one image before a model's answer is used."""

from dataclasses import dataclass, replace
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from radproof.api.http.problems import Problem
from radproof.api.http.render import fragment, page
from radproof.api.people.access import Caller, Clinician
from radproof.api.readers.taking import UNSCREENED, check_unread, middles, ways
from radproof.api.screening.answering import (
    NO_GUARD,
    NOTICE,
    Image,
    ReadingAnswer,
    Screenable,
    ScreeningAnswer,
    screen,
    screenable,
)
from radproof.api.service import Here, Service
from radproof.errors import RadproofError
from radproof.reports.verdicts import TONES, rate, share
from radproof.reports.words import listed, plain

router = APIRouter()
PIECE = "x-fragment"  # a script asks for the answer alone
IMAGES_OWN = (413, 415, 422)  # codes that say what is wrong with the image
_WAY_ON = {
    400: "The form did not come whole. Choose the image again.",
    403: "This says nothing about the image. Trying again does not help: an administrator can say what you may do.",
    404: "This says nothing about the image. Choose another model: this one was removed, or is not in your projects.",
    409: "This says nothing about the image. Choose another model, or come back when this one is ready.",
}
_NO_MODEL = "This says nothing about the image. Choose a model that has a detector."
_UNCHECKED = "An image that was not screened is as one that nobody has checked."
_AGAIN = "Nothing is wrong with the image as far as is known. Try it again."
BADGES = {"calm": "ok", "alarm": "bad", "open": "warn"}
_ALTERED = {
    None: ("Cannot be said", "No threshold could be set for this detector, so nothing is promised."),
    True: ("Perhaps", "It is unlike untouched images. Few untouched images get this alarm, but some do."),
    False: ("No sign of it", "An alteration that is made to stay below the threshold would not show."),
}
_KIND = {
    None: ("Cannot be said", "The detector of this model does not tell."),
    True: ("No", "The model has not learnt from images like this one."),
    False: ("Yes", "It is like the images that the detector was taught on."),
}


@dataclass(frozen=True)
class Asked:
    """What was asked about; empty where the form did not come whole."""

    model: str = ""  # its id
    view: str = ""
    name: str = ""  # of the model, as the form offers it
    image: str = ""  # first 16 digits of its hash


@dataclass(frozen=True)
class Told:
    """An answer in plain words."""

    verdict: str
    tone: str
    headline: str
    advice: str
    says: str
    sure: str
    altered: tuple[str, str]
    kind: tuple[str, str]
    reasons: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    phantom: bool


def told(answer: ScreeningAnswer) -> Told:
    """In the words of the page."""
    readings = [("Score of alteration", answer.suspicion)]
    readings += [("Score of unlikeness", answer.outside)] if answer.outside else []
    figures = [
        *((f"Probability of {name}", share(p)) for name, p in answer.probabilities.items()),
        *((f"{title} ({one.detector})", _score(one)) for title, one in readings),
        ("Judged in", f"{answer.seconds:.2g} s"),
    ]
    return Told(
        verdict=answer.verdict,
        tone=BADGES[TONES.get(answer.verdict, "open")],
        headline=answer.headline,
        advice=answer.advice,
        says=listed(answer.prediction) or "No finding",
        sure=f"The model is {share(answer.confidence)} sure.",
        altered=_ALTERED[answer.suspicion.flagged],
        kind=_KIND[answer.outside.flagged if answer.outside else None],
        reasons=tuple(answer.reasons),
        figures=tuple(figures),
        phantom=answer.phantom,
    )


@router.get("/screen")
def form(request: Request, here: Here, who: Clinician, model: str = "") -> Response:
    """Choose a model and an image. Raises Problem 403 where a reader test is in the way of all of them."""
    with here.database.reading() as session:
        closed = middles(session, who)
    if closed and not _open(here, who):
        raise Problem(403, UNSCREENED, links=ways(next(iter(closed.values()))))
    return _page(request, here, who, Asked(model))


@router.post("/screen")
async def answer(request: Request, here: Here, who: Clinician) -> Response:
    """The same page with what was said; nothing of it is kept, so that there is no other page to go to."""
    heard: list[Image] = []
    headers: dict[str, str] = {}
    links: tuple[tuple[str, str], ...] = ()
    alone = bool(request.headers.get(PIECE))
    try:
        found, status, oops = told(await screen(request, here, who, check_unread, heard.append)), 200, ""
    except Problem as problem:
        if problem.links and not alone:
            raise
        links = problem.links
        found, status, oops, headers = None, problem.status, problem.detail, problem.headers
    except RadproofError as error:
        found, status, oops = None, error.http_status, str(error)
    draw = partial(_fragment, links) if alone else partial(_page, request)
    made = await run_in_threadpool(draw, here, who, _asked(heard), found, oops, status)
    made.headers.update({**headers, "Cache-Control": "no-store"})
    return made


def _asked(heard: list[Image]) -> Asked:
    return Asked(heard[0].model, heard[0].view or "", image=heard[0].sha256[:16]) if heard else Asked()


def _fragment(
    links: tuple[tuple[str, str], ...],
    here: Service,
    who: Caller,
    asked: Asked,
    found: Told | None,
    oops: str,
    status: int,
) -> Response:
    asked, way = _named(asked, _choices(screenable(here, who))), way_on(status, oops)
    made = fragment("screening_answer", told=found, oops=oops, way=way, notice=NOTICE, asked=asked, links=links)
    made.status_code = status
    return made


def _page(
    request: Request,
    here: Service,
    who: Caller,
    asked: Asked,
    found: Told | None = None,
    oops: str = "",
    status: int = 200,
) -> Response:
    models = _open(here, who)
    choices = _choices([one for one in models if one.guard])
    if oops and asked.model not in dict(choices) and len(choices) > 1:
        choices = [("", "Choose a model"), *choices]  # no model is chosen for anybody after one was lost
    return page(
        request,
        "screening",
        status,
        title="Screen an image",
        ready=any(one.guard for one in models),
        untaught=[one for one in models if not one.guard],
        by_view=[one.model.name for one in models if one.by_view],
        asked=_named(asked, _choices(models)),
        told=found,
        oops=oops,
        way=way_on(status, oops),
        notice=NOTICE,
        megabytes=here.settings.image_megabytes,
        choices=choices,
        links=(),
    )


def _open(here: Service, who: Caller) -> list[Screenable]:
    """Models of the projects in which the caller is in the middle of no reader test."""
    with here.database.reading() as session:
        closed = middles(session, who)
    return [one for one in screenable(here, who) if one.model.project_id not in closed]


def _named(asked: Asked, choices: list[tuple[str, str]]) -> Asked:
    return replace(asked, name=dict(choices).get(asked.model, ""))


def _choices(ready: list[Screenable]) -> list[tuple[str, str]]:
    """Models by name; of two with the same name, the day of each."""
    names = [one.model.name for one in ready]
    twice = {name for name in names if names.count(name) > 1}
    days = [f" ({one.model.created:%-d %b %Y, %H:%M})" if one.model.name in twice else "" for one in ready]
    return [(one.model.id, one.model.name + day) for one, day in zip(ready, days, strict=True)]


def way_on(status: int, oops: str) -> tuple[bool, str]:
    """Of an image that was not screened: whether that is the image's own fault, and what helps."""
    if status == 422 and (oops == NO_GUARD or oops.startswith("the form")):
        return False, _NO_MODEL if oops == NO_GUARD else _WAY_ON[400]
    return status in IMAGES_OWN, _UNCHECKED if status in IMAGES_OWN else _WAY_ON.get(status, _AGAIN)


def _score(one: ReadingAnswer) -> str:
    if one.threshold is None:
        return f"{plain(one.score)}, no threshold: {one.reason}"
    return (
        f"{plain(one.score)} of {plain(one.threshold)} allowed; at most {rate(one.promised)} of clean images lie above"
    )
