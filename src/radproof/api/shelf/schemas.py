# SPDX-License-Identifier: Apache-2.0
"""How models, data sets and guards are told over the API."""

import json
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from radproof.store.tables import DataSet, GuardFile, Job, Model

MOST_ALARMS = 0.5  # no guard is promised that flags half of the clean images
PRIVATE = ("card", "labels", "check")  # of `told`: names of files


class Facts(BaseModel):
    """What was found; more may follow in later versions."""

    model_config = ConfigDict(extra="allow")


class Seconds(BaseModel):
    """Of one image, on the server's machine."""

    forward: float | None = None
    gradient: float | None = None


class ModelFacts(Facts):
    """Of a model that was opened."""

    format: str = ""
    card: dict[str, Any] | None = None
    needs: str = Field("", description='"data": nothing says how it takes its images; labelled ones can tell.')
    architecture: str = ""
    labels: list[str] = []
    head: str = ""
    classes: int | None = None
    parameters: int | None = None
    input: list[int] = Field([], description="Channels, height, width.")
    access: str = Field("", description="white-box, or black-box where its answer has no gradient.")
    phantom: bool = False
    seconds: Seconds = Seconds()
    notes: list[str] = []
    check: dict[str, Any] | None = Field(None, description="What labelled images say of it.")
    guard: list[str] = Field([], description="How well the file was guarded while it was open.")
    bytes: int = Field(0, description="Of its folder on the server.")


class Fold(BaseModel):
    """Of a data set."""

    images: int
    patients: int
    classes: dict[str, int]


class Excluded(BaseModel):
    """A file that is no usable image, by its number in the archive."""

    index: int
    sha256: str
    reason: str


class Unreadable(Facts):
    """Files of the archive that could not be read and were left out."""

    files: int = 0
    of: int = Field(0, description="Files that hold images.")
    most: int = Field(0, description="How many may be left out before the import fails.")
    reasons: dict[str, int] = Field({}, description="Why, without names and figures -> files.")


class Audit(Facts):
    """What speaks against test figures on a data set."""

    failed: bool = False
    lines: list[str] = []
    shortcuts: list[dict[str, Any]] = []
    unreadable: Unreadable = Unreadable.model_validate({})


class DataFacts(Facts):
    """Of a data set that was imported."""

    source: str = Field(
        "", description="What it was: folder, labelled, dicom, nifti, nih, medmnist, webdataset, manifest."
    )
    labels: list[str] = []
    head: str = ""
    images: int = 0
    patients: int = 0
    patients_known: bool = False
    phantom: bool = False
    folds: dict[str, Fold] = {}
    grids: list[dict[str, int]] = []
    views: dict[str, int] = {}
    left_out: dict[str, int] = {}
    excluded: list[Excluded] = []
    excluded_count: int = 0
    audit: Audit = Audit()
    bytes: int = 0
    removed: str = Field("", description="What of the upload is no longer kept.")


class JobOut(BaseModel):
    """The work behind something, and where it is."""

    id: str
    kind: str
    state: str
    progress: dict[str, Any]
    error: str


class Thing(BaseModel):
    """What everything on a shelf has."""

    id: str
    project: str
    state: str
    error: str
    created: datetime
    created_by: str | None
    job: JobOut | None


class ModelOut(Thing):
    """A model. state: importing, unchecked (it needs data to tell its conventions), ready, failed."""

    name: str
    fingerprint: str
    told: dict[str, Any]
    facts: ModelFacts


class DataOut(Thing):
    """A data set. state: importing, ready, failed."""

    name: str
    told: dict[str, Any]
    facts: DataFacts


class GuardOut(Thing):
    """What watches a model in use. state: teaching, ready, failed."""

    model: str
    data: str | None
    told: dict[str, Any]
    facts: dict[str, Any]


class Renamed(BaseModel):
    """Another name."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=120)


class ModelAgain(BaseModel):
    """An import to be tried again, and what is to be said otherwise; what is left out stays as it was."""

    model_config = ConfigDict(extra="forbid")
    architecture: str | None = Field(None, max_length=100, description="A timm name, or torchvision:NAME; empty: none.")
    card: dict[str, Any] | None = Field(None, description="Another card in place of the one that came with the file.")


class DataAgain(BaseModel):
    """The same for images."""

    model_config = ConfigDict(extra="forbid")
    classes: str | None = Field(
        None, max_length=4000, description="With commas between them; empty: as they are named."
    )
    multi_label: bool | None = None
    label_tag: str | None = Field(None, max_length=60)
    strict: bool | None = Field(None, description="Leave no file out that cannot be read.")


@cache
def detectors() -> tuple[str, ...]:
    """Names of the detectors that can be taught."""
    told = files("radproof.schema").joinpath("parts.json").read_text(encoding="utf-8")
    return tuple(json.loads(told)["detector"])


class NewGuard(BaseModel):
    """A detector to be taught."""

    model_config = ConfigDict(extra="forbid")
    data: str = Field(max_length=40, description="A data set of the model's project.")
    detector: str = Field("drift", pattern=r"^[a-z][a-z0-9-]{0,63}$")
    rate: float = Field(0.05, gt=0, lt=MOST_ALARMS, description="Share of clean images that may get any alarm.")
    other_data: bool = Field(False, description="The model has seen none of these images.")


class NewCheck(BaseModel):
    """Labelled images to try a model on."""

    model_config = ConfigDict(extra="forbid")
    data: str = Field(max_length=40, description="A data set of the model's project.")


def model_out(found: Model, job: Job | None) -> ModelOut:
    """A row as it is told."""
    return ModelOut(
        **_thing(found, job),
        name=found.name,
        fingerprint=found.fingerprint,
        told=_told(found),
        facts=ModelFacts.model_validate(found.facts),
    )


def data_out(found: DataSet, job: Job | None) -> DataOut:
    """A row as it is told."""
    return DataOut(
        **_thing(found, job), name=found.name, told=_told(found), facts=DataFacts.model_validate(found.facts)
    )


def guard_out(found: GuardFile, job: Job | None) -> GuardOut:
    """A row as it is told."""
    return GuardOut(**_thing(found, job), model=found.model_id, data=found.data_id, told=found.told, facts=found.facts)


def _thing(found: Model | DataSet | GuardFile, job: Job | None) -> dict[str, Any]:
    return {
        "id": found.id,
        "project": found.project_id,
        "state": found.state,
        "error": found.error,
        "created": found.created,
        "created_by": found.created_by,
        "job": None
        if job is None
        else JobOut(id=job.id, kind=job.kind, state=job.state, progress=job.progress, error=job.error),
    }


def _told(found: Model | DataSet) -> dict[str, Any]:
    return {key: value for key, value in found.told.items() if key not in PRIVATE}
