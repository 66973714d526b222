# SPDX-License-Identifier: Apache-2.0
"""Screening of one image: which models can, what is answered, and what the trail learns of it. No image is kept."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from fastapi import Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.api.front.uploads import received
from radproof.api.http.problems import Problem
from radproof.api.http.wanted import IMAGE
from radproof.api.people.access import Caller, owned, visible
from radproof.api.screening.answers import Opened, Reading, Said, Screened, Verdict
from radproof.api.screening.passing import PassingPlace
from radproof.api.screening.screener import Opening
from radproof.api.service import Service
from radproof.reports.verdicts import ADVICE, HEADLINES
from radproof.store.tables import GuardFile, Model

Check = Callable[[Session, Caller, str], None]  # of a project
NOTICE = "Not for diagnosis: this says something about an image and a model, and nothing about a patient."
NO_GUARD = (
    "no detector is taught for this model; a developer does so under “Teach a guard” on its page, from clean images"
)


class ReadingAnswer(BaseModel):
    """One detector's score of the image."""

    detector: str
    score: float
    threshold: float | None = Field(description="The score above which an image is flagged; null: none could be set.")
    flagged: bool | None
    tail: float = Field(ge=0, le=1, description="Share of clean images that score as high or higher.")
    clean_images: int = Field(description="Images that the share is counted among.")
    promised: float = Field(ge=0, le=1, description="Share of clean images that are to be flagged at most.")
    reason: str = Field(description="Why there is no threshold.")


class ScreeningAnswer(BaseModel):
    """What a model says of an image, and whether it may be believed on it."""

    image: str = Field(pattern="^[0-9a-f]{16}$", description="First digits of the sha256 of the image's bytes.")
    model: str
    guard: str
    verdict: Verdict
    headline: str
    advice: str
    reasons: list[str]
    prediction: list[str] = Field(description="The class; or the findings that are there, perhaps none.")
    confidence: float = Field(ge=0, le=1)
    probabilities: dict[str, float]
    suspicion: ReadingAnswer = Field(description="Whether the image looks altered.")
    outside: ReadingAnswer | None = Field(description="Whether it is unlike the images that the model knows.")
    phantom: bool = Field(description="The model was trained on drawn images, not patients.")
    seconds: float = Field(ge=0, description="That the judging took, without transfer and waiting.")
    notice: Literal["Not for diagnosis: this says something about an image and a model, and nothing about a patient."]


@dataclass(frozen=True)
class Screenable:
    """A model with the detector that watches it."""

    model: Model
    guard: GuardFile | None

    @property
    def by_view(self) -> bool:
        """Whether thresholds are by view, which then has to be said."""
        return bool(self.guard) and _thresholds_by(self.guard) == "view"


@dataclass(frozen=True)
class Image:
    """One that came with a form."""

    path: Path
    sha256: str
    model: str
    view: str | None


def screenable(service: Service, who: Caller) -> list[Screenable]:
    """The ready models of the caller's projects, by name, each with its newest ready detector or none."""
    with service.database.reading() as session:
        ready = visible(Model, who).where(Model.state == "ready").order_by(Model.name)
        models = session.execute(ready).scalars().all()
        newest = visible(GuardFile, who).where(GuardFile.state == "ready").order_by(GuardFile.created)
        guards = {guard.model_id: guard for guard in session.execute(newest).scalars()}
        return [Screenable(model, guards.get(model.id)) for model in models]


async def screen(
    request: Request, service: Service, who: Caller, check: Check, heard: Callable[[Image], None] | None = None
) -> ScreeningAnswer:
    """Take the form's image, and have it judged; `heard` is told what was asked once the form is read.

    `check` raises where the caller may not have images judged in the model's project now. Raises Problem 400 to 429
    and 503.
    """
    if int_of(request.headers.get("content-length")) == 0:
        raise Problem(422, "the form is empty; expected image and model")
    async with received(request, IMAGE, PassingPlace(service)) as form:
        file = form.files["image"]
        image = Image(file.path, file.sha256, form.fields.get("model", ""), form.fields.get("view") or None)
        if heard is not None:
            heard(image)
        if not image.model:
            raise Problem(422, "the form has no model; expected the name of one, as /api/v1/models lists them")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(service.screeners.threads, partial(judge, service, who, image, check))


def judge(service: Service, who: Caller, image: Image, check: Check) -> ScreeningAnswer:
    """One image before one model. Raises Problem 403, 404, 409, 422, 429, 503."""
    with service.database.reading() as session:
        model = owned(session, Model, image.model, who)
        check(session, who, model.project_id)
        opening = _opening(service, session, model)
    opened, said = service.screeners.screen(opening, image.path, image.view)
    name, found = image.sha256[:16], said.screening
    with service.database.writing() as session:
        told = found.verdict if found else "refused"
        project = model.project_id
        service.trail.add(
            session, "image.screen", actor=who.user_id, object=model.id, project=project, image=name, verdict=told
        )
    if found is None:
        raise Problem(422, said.refusal)
    return _answer(name, opening, opened, said, found)


def _opening(service: Service, session: Session, model: Model) -> Opening:
    if model.state != "ready":
        raise Problem(409, f"the model is not ready: its state is {model.state}")
    own = select(GuardFile).where(GuardFile.model_id == model.id, GuardFile.project_id == model.project_id)
    newest = own.where(GuardFile.state == "ready").order_by(GuardFile.created.desc()).limit(1)
    guard = session.scalars(newest).one_or_none()
    if guard is None:
        raise Problem(422, NO_GUARD)
    settings = service.settings
    return Opening(
        model.id,
        guard.id,
        settings.home.resolve() / model.path,
        settings.folder("models", model.id),
        settings.folder("guards") / f"{guard.id}.safetensors",
    )


def _answer(name: str, opening: Opening, opened: Opened, said: Said, found: Screened) -> ScreeningAnswer:
    return ScreeningAnswer(
        image=name,
        model=opening.model_id,
        guard=opening.guard_id,
        verdict=found.verdict,
        headline=HEADLINES[found.verdict],
        advice=ADVICE[found.verdict],
        reasons=list(found.reasons),
        prediction=list(found.prediction),
        confidence=found.confidence,
        probabilities=found.probabilities,
        suspicion=_reading(found.suspicion),
        outside=_reading(found.outside) if found.outside else None,
        phantom=opened.phantom,
        seconds=round(said.seconds, 4),
        notice=NOTICE,
    )


def _reading(one: Reading) -> ReadingAnswer:
    limit = one.threshold
    return ReadingAnswer(
        detector=one.detector,
        score=one.score,
        threshold=limit.value,
        flagged=one.flagged,
        tail=one.tail,
        clean_images=one.clean,
        promised=limit.promised,
        reason=limit.reason,
    )


def _thresholds_by(guard: GuardFile) -> str:
    suspicion = guard.facts.get("suspicion")
    thresholds = suspicion.get("thresholds") if isinstance(suspicion, dict) else None
    return str(thresholds.get("by", "")) if isinstance(thresholds, dict) else ""


def int_of(text: str | None) -> int | None:
    """A Content-Length, or None."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None
