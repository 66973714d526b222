# SPDX-License-Identifier: Apache-2.0
"""The sections of a plan: parts by name, data, networks, and what is measured beside the attacks."""

import math
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from radproof.core.params import Epsilon, Unit
from radproof.core.records import Record
from radproof.core.registry import named
from radproof.training.denoiser_recipe import DenoiserRecipe
from radproof.training.recipe import TrainingRecipe


class Part(Record):
    """A registered part by name, with the parameters that differ from the preset's."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return self.name


PartSpec = Annotated[Part, BeforeValidator(named)]


class DataPlan(Record):
    """Where images come from and how they are chosen."""

    kind: Literal["nih", "folder", "phantom", "manifest", "labelled", "dicom", "nifti", "medmnist", "webdataset"]
    path: str | None = None  # relative to the plan's own folder; none for phantoms
    patients: str | None = None  # a folder's table of patients: CSV with path, patient and perhaps view, age, sex
    labels: str | None = None  # CSV that says what each image shows, and perhaps whose it is, its fold, view, age, sex
    label_tag: str | None = None  # the DICOM attribute that says it instead, by its keyword
    # what a DICOM's or NIfTI's values are shown as; or centre and width; full is for DICOM, percentiles for NIfTI
    voi: Literal["file", "full", "minmax", "percentiles"] | tuple[float, float] = "file"
    axis: Literal["axial", "coronal", "sagittal"] = "axial"  # that a NIfTI volume is cut across
    slices: Literal["all", "middle"] | Annotated[int, Field(ge=1)] = "all"  # of a NIfTI volume; or every nth
    classes: tuple[str, ...] | None = None
    multi_label: bool = False
    split: Literal["patient", "release", "image"] = "patient"
    inflate: Annotated[int, Field(ge=1)] | None = None  # images per class, made up with changed copies before the split
    size: Annotated[int, Field(ge=16, le=4096)] | None = None  # longer side after import; None keeps the stored grid
    window: tuple[Unit, Unit] | None = (
        None  # grey levels to stretch to black and white on import, as shares of the range
    )
    count: Annotated[int, Field(ge=1)] | None = None  # phantoms to draw
    seed: int = 0  # of the split and of phantoms
    balance: tuple[Literal["class", "view"], ...] = ()
    fold: Literal["test", "validation"] = "test"  # the patients to assess; validation is for choosing parameters
    images: Annotated[int, Field(ge=1)] | None = None  # of them, images to assess; None takes all


class EndpointPlan(Record):
    """A service that answers images: attacked as a black box."""

    url: Annotated[str, Field(pattern=r"^https?://", max_length=2000)]
    protocol: Literal["v1", "v2"] = "v2"  # of KServe: TensorFlow Serving's, or the Open Inference Protocol
    input: Annotated[str, Field(min_length=1, max_length=200)] = "input"  # what a v2 service calls it
    gives: Literal["probabilities", "logits", "labels"] = "probabilities"


class ModelPlan(Record):
    """A model's folder or file, the recipe to train one on the plan's own training patients, or a service."""

    path: str | None = None
    train: TrainingRecipe | None = None
    endpoint: EndpointPlan | None = None
    card: str | None = None  # of a file or a service: what it takes and answers
    architecture: str | None = None  # of a file that holds weights alone: a timm network, or torchvision:NAME
    black_box: bool = False  # only ask an ONNX file's network, as where it cannot be converted

    @model_validator(mode="after")
    def _one(self) -> "ModelPlan":
        if sum(way is not None for way in (self.path, self.train, self.endpoint)) != 1:
            raise ValueError(
                "give one of path: (a model's folder or file), train: (a recipe), endpoint: (a service that answers)"
            )
        if self.path is None and (self.architecture or self.black_box):
            raise ValueError("architecture: and black_box: go with path: (a file)")
        if self.train is not None and self.card:
            raise ValueError("card: goes with path: or endpoint:; a model that is trained writes its own")
        return self

    @property
    def only_answers(self) -> bool:
        """Whether nothing climbs its gradients."""
        return self.endpoint is not None or self.black_box


class SurrogatePlan(Record):
    """Another network that attacks are also made on, to be carried over to the model: by folder, by recipe, or several.

    Several together are attacked through their mean logits.
    """

    path: str | None = None
    train: TrainingRecipe | None = None
    of: tuple[str, ...] | None = None  # names of other surrogates

    @model_validator(mode="after")
    def _one(self) -> "SurrogatePlan":
        if sum(way is not None for way in (self.path, self.train, self.of)) != 1:
            raise ValueError("give one of path: (a model's folder), train: (a recipe), of: (names of other surrogates)")
        if self.of is not None and len(set(self.of)) < 2:
            raise ValueError("an ensemble is of two or more surrogates by name")
        return self


def _by_path(value: Any) -> Any:
    """'models/other' is short for {path: models/other}."""
    return {"path": value} if isinstance(value, str) else value


SurrogateSpec = Annotated[SurrogatePlan, BeforeValidator(_by_path)]
NetworkName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]


class HardenedPlan(Record):
    """Another network in the model's place, input transformations in front of one, or both: a defence by name.

    `like`, `start`, `teacher` and `of` name the plan's model ("model") or another entry.
    """

    path: str | None = None
    train: TrainingRecipe | None = None
    of: tuple[str, ...] | None = None  # an ensemble, by its mean logits
    like: str | None = None  # the same network as that one
    start: str | None = None  # whose weights the training begins with
    teacher: str | None = None  # whose answers the training learns
    behind: tuple[PartSpec, ...] = ()  # input transformations in front of the network, in order
    denoiser: DenoiserRecipe | None = None  # trained for the network, between it and the transformations

    @model_validator(mode="after")
    def _one(self) -> "HardenedPlan":
        if sum(way is not None for way in (self.path, self.train, self.of, self.like)) != 1:
            raise ValueError(
                "give one of path: (a model's folder), train: (a recipe), of: (names of other networks), "
                "like: (the name of one other network)"
            )
        if self.of is not None and len(set(self.of)) < 2:
            raise ValueError("an ensemble is of two or more networks by name")
        if self.train is None and (self.start or self.teacher):
            raise ValueError("start: and teacher: go with train: (a recipe)")
        if self.like and not self.fronted:
            raise ValueError(
                f"like: {self.like} alone is that network again; put something in front of it (behind:, denoiser:)"
            )
        return self

    @property
    def fronted(self) -> bool:
        """Whether something stands in front of the network."""
        return bool(self.behind) or self.denoiser is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The networks that this one is made of or learns from."""
        return tuple(name for name in (self.like, self.start, self.teacher, *(self.of or ())) if name)


def in_order(plans: Mapping[str, HardenedPlan]) -> tuple[str, ...]:
    """The names so that each comes after those it is made of or learns from. Raises ValueError for a circle."""
    needs = {name: sorted(set(plans[name].names) & set(plans)) for name in sorted(plans)}
    try:
        return tuple(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise ValueError(f"hardened networks are made of one another in a circle: {circle}") from None


HardenedSpec = Annotated[HardenedPlan, BeforeValidator(_by_path)]


class SpendingPlan(Record):
    """Success against cost: every attack again, scaled to spend about so many gradients per image."""

    gradients: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (10, 40, 160)
    budget: Epsilon = 1 / 255
    images: Annotated[int, Field(ge=1)] | None = None
    made_on: Annotated[tuple[str, ...], Field(min_length=1)] = ("model",)  # model, or surrogates' names


class SmallestPlan(Record):
    """The search for each image's smallest fooling budget."""

    images: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    most: Epsilon = 16 / 255
    rounds: Annotated[int, Field(ge=1, le=20)] = 6


class CertifyPlan(Record):
    """Randomised smoothing of one network: what Gaussian noise and a vote prove about each image."""

    network: str = "model"  # model, or a hardened network's name
    sigma: Annotated[float, Field(gt=0, le=10)] = 0.25  # of the noise, in [0, 1] pixel units
    n0: Annotated[int, Field(ge=1, le=100_000)] = 100  # draws that select the class
    n: Annotated[int, Field(ge=10, le=10_000_000)] = 1000  # draws that estimate its probability
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.001  # chance that a certificate is wrong
    images: Annotated[int, Field(ge=1)] | None = 100
    radii: tuple[Annotated[float, Field(ge=0)], ...] | None = None  # L2, in [0, 1] pixel units

    @field_validator("radii")
    @classmethod
    def _ascending(cls, radii: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return tuple(sorted(set(radii))) if radii else None

    @model_validator(mode="after")
    def _enough(self) -> "CertifyPlan":
        least = math.floor(math.log2(1 / self.alpha)) + 1
        if self.n < least:
            raise ValueError(f"{self.n} draws prove nothing at alpha {self.alpha:g}; give n: at least {least}")
        return self


class LearnedPlan(Record):
    """Detectors also trained with attacks on validation patients, each judged on the attacks that it has not seen."""

    attacks: Annotated[tuple[PartSpec, ...], Field(min_length=2)]
    eps: Epsilon = 4 / 255
    images: Annotated[int, Field(ge=20)] = 60  # validation images to attack, of one half of the patients


class DetectionPlan(Record):
    """How detectors are taught, held to their promise, and attacked by someone who knows them."""

    images: Annotated[int, Field(ge=20)] = 600  # training images to learn the usual from
    calibration: Annotated[int, Field(ge=1)] = 500  # validation images to set thresholds on, one of each patient
    benign: bool = True  # also learn from, and promise the rate for, harmless changes: re-encoding, windowing, noise, …
    by: Literal["", "class", "view"] = ""  # a threshold for each answer of the model, or each view
    aware: tuple[PartSpec, ...] = ()  # detector-aware attacks, made against each detector
    against: tuple[str, ...] | None = None  # the detectors that aware attacks are made against; None: all
    aware_images: Annotated[int, Field(ge=1)] | None = None  # of the test images; None takes all
    learned: LearnedPlan | None = None
    required: bool = True  # else detectors are left out, and it is said, where these images cannot teach them

    @model_validator(mode="after")
    def _one_threshold(self) -> "DetectionPlan":
        if self.by and self.aware:
            raise ValueError(
                f"aware attacks are made against one threshold for all; leave out by: {self.by}, or aware:"
            )
        if self.aware and not self.required:
            raise ValueError("attacks that are aware of detectors need them; leave out required: false, or aware:")
        return self
