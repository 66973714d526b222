# SPDX-License-Identifier: Apache-2.0
"""What a server answers, as far as this version knows it; what a later one adds is kept."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

RunState = Literal["queued", "running", "pausing", "paused", "cancelling", "cancelled", "done", "failed"]
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
    share: float | None = None  # of the stage, 0 to 1
    left: float | None = None  # seconds, estimated
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
    state: str = ""  # one of RunState
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


class Screened(Told):
    """What was said of one image; not for diagnosis."""

    verdict: str = ""
