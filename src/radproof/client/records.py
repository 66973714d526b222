# SPDX-License-Identifier: Apache-2.0
"""What a server answers, as far as this version knows it; what a later one adds is kept."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

ENDED = ("cancelled", "done", "failed")


class Told(BaseModel):
    """Of all answers."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Status(Told):
    """How the server is."""

    version: str
    worker: bool
    queued: int
    running: int


class Thing(Told):
    """A model, a data set or a guard."""

    id: str
    name: str = ""
    project: str = ""
    state: str = ""  # importing, unchecked (a model that needs labelled images to tell its conventions), ready, failed
    error: str | None = ""
    created: datetime | None = None
    facts: dict[str, Any] = Field(default_factory=dict[str, Any])


class Progress(Told):
    """Where a job is."""

    stage: str | None = None
    done: float | None = None
    total: float | None = None
    share: float | None = None  # of the whole run, 0 to 1
    left: float | None = None  # seconds to its end, about, and what they may well lie between
    left_low: float | None = None
    left_high: float | None = None
    stage_share: float | None = None
    stage_left: float | None = None
    note: str | None = None


class Plan(Told):
    """A saved plan."""

    id: str
    project: str = ""
    name: str = ""
    document: dict[str, Any] = Field(default_factory=dict[str, Any])


class Run(Told):
    """An assessment."""

    id: str
    project: str = ""
    priority: int | None = None
    name: str = ""
    state: str = ""  # queued, running, pausing, paused, cancelling, cancelled, done, failed
    error: str | None = ""
    plan: str = ""
    model: str = ""
    data: str | None = None  # None: drawn phantoms
    created: datetime | None = None
    progress: Progress = Progress()
    summary: dict[str, Any] = Field(default_factory=dict[str, Any])

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in ENDED


class Image(Told):
    """One attacked image of a run, and how one scorer answered it."""

    id: str
    sample: str = ""
    truth: str = ""
    attack: str = ""
    goal: str = ""
    budget: str = ""
    defense: str = ""
    clean_answer: str = ""
    attacked_answer: str = ""
    outcome: str = ""
    kinds: list[str] = Field(default_factory=list[str])
    drawn: list[str] = Field(default_factory=list[str])  # drawn when they are asked for


class Screened(Told):
    """What was said of one image; not for diagnosis."""

    verdict: str = ""


class ImageAround(Told):
    """An image and its neighbours."""

    image: Image
    before: str | None = None
    after: str | None = None
    budgets: list[Image] = Field(default_factory=list[Image])  # the same image and attack at every budget


class ReaderTest(Told):
    """A blinded choice between originals and attacked images; what it is made of is told at its end."""

    id: str
    project: str = ""
    name: str = ""
    trials: int = 0
    answered: int = 0  # by you, as are the next three
    begun: bool = False
    finished: bool = False
    given_up: bool = False
    run: str | None = None
    attack: str | None = None
    budget: str | None = None


class ReaderProgress(Told):
    """How far you are with a test."""

    trials: int
    answered: int
    finished: bool
    given_up: bool = False


class Choice(Told):
    """What answers support."""

    answers: int
    correct: int
    readers: int
    verdict: str  # told apart, the wrong way round, could not tell, not established
    sentence: str
    d_prime: dict[str, Any] = Field(default_factory=dict[str, Any])  # value, low, high; ±6 stands for that or more


class Outcome(Told):
    """What came of a reader test."""

    own: Choice | None = None
    trials: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])  # yours, with the truth
    readers: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    pooled: Choice
    blinding: str = ""


class Part(Told):
    """An attack, a defence, a detector or a corruption that a plan may name."""

    name: str


class Key(Told):
    """An API key without its secret."""

    id: str
    name: str = ""
    created: datetime | None = None
    expires: datetime | None = None  # None: until it is revoked
    used: datetime | None = None


class Browser(Told):
    """Where somebody is signed in."""

    id: str
    created: datetime | None = None
    expires: datetime | None = None


class Person(Told):
    """Somebody who may sign in."""

    id: str
    name: str = ""
    role: str = ""
    disabled: bool = False


class Project(Told):
    """A project and its members, each with id and name."""

    id: str
    name: str = ""
    members: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class Invitation(Told):
    """An open link, without its secret."""

    id: str
    role: str = ""
    expires: datetime | None = None


class Event(Told):
    """One thing that was done, as the trail tells it."""

    number: int
    at: datetime
    actor: str = ""
    action: str = ""
    object: str = ""
    project: str = ""


class TrailCheck(Told):
    """Whether the trail is whole."""

    whole: bool
    first_broken: int | None = None
