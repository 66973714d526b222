# SPDX-License-Identifier: Apache-2.0
"""What an assessment is to do: frozen, strict, and hashed, so that a result names exactly what made it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from radproof.assess.gate_sentence import anchor_gate, check_gates
from radproof.assess.plan_file import read_yaml
from radproof.assess.sections import (
    CertifyPlan,
    DataPlan,
    DetectionPlan,
    EndpointPlan,
    HardenedPlan,
    HardenedSpec,
    LearnedPlan,
    ModelPlan,
    NetworkName,
    Part,
    PartSpec,
    SmallestPlan,
    SpendingPlan,
    SurrogatePlan,
    SurrogateSpec,
    in_order,
)
from radproof.core.names import nearest
from radproof.core.params import Epsilon
from radproof.core.records import Record, digest
from radproof.errors import BadPlan
from radproof.training.denoiser_recipe import DenoiserRecipe
from radproof.training.hardening import AdversarialRecipe, DistillRecipe
from radproof.training.recipe import TrainingRecipe

R = TypeVar("R", bound=Record)
FILES = ("network", "mask")  # parameters of parts that, where they are text, name a file


class Plan(Record):
    """One assessment."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "assessment"
    title: str = ""
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    preset: Literal["quick", "published", "exhaustive"] = "quick"
    data: DataPlan
    model: ModelPlan
    surrogates: dict[NetworkName, SurrogateSpec] = Field(default_factory=dict[str, SurrogatePlan])
    attacks: Annotated[tuple[PartSpec, ...], Field(min_length=1)]
    budgets: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    goals: Annotated[tuple[str, ...], Field(min_length=1)] = ("misclassify",)
    defenses: tuple[PartSpec, ...] = ()
    hardened: dict[NetworkName, HardenedSpec] = Field(default_factory=dict[str, HardenedPlan])
    adaptive: tuple[PartSpec, ...] = (Part(name="pgd"), Part(name="square"))
    eot: Annotated[int, Field(ge=1, le=1000)] = 8  # draws per gradient through a random defence
    detectors: tuple[PartSpec, ...] = ()
    corruptions: tuple[PartSpec, ...] = ()
    detection: DetectionPlan = DetectionPlan()
    false_positive_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    smallest: SmallestPlan | None = SmallestPlan()
    survival: bool = True  # also score what re-compression, re-windowing and resizing leave of each attack
    spending: SpendingPlan | None = None
    certify: CertifyPlan | None = None
    batch: Annotated[int, Field(ge=1, le=4096)] = 16
    micro_batch: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 2000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    gallery: Annotated[int, Field(ge=0, le=24)] = 6
    gate: tuple[str, ...] = ()  # sentences that the finished run must keep

    @field_validator("budgets")
    @classmethod
    def _ascending(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(budgets)))

    @field_validator("goals")
    @classmethod
    def _once(cls, goals: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(goals))

    @model_validator(mode="after")
    def _known(self) -> "Plan":
        if "model" in self.surrogates:
            raise ValueError("a surrogate cannot be called model; that is the network to assess")
        single = [name for name, surrogate in self.surrogates.items() if surrogate.of is None]
        for name, surrogate in self.surrogates.items():
            for member in surrogate.of or ():
                if member not in single:
                    raise ValueError(f"surrogate {name} is made of {member!r}{nearest(member, single)}")
        reserved = [name for name in ("model", "none") if name in self.hardened]
        if reserved:
            raise ValueError(f"a hardened network cannot be called {reserved[0]}; that is the network to assess")
        known = ["model", *self.hardened]
        for name, network in self.hardened.items():
            for other in network.names:
                if other not in known:
                    raise ValueError(f"hardened {name} refers to {other!r}{nearest(other, known)}")
                if other in self.hardened and self.hardened[other].fronted:
                    raise ValueError(
                        f"hardened {name} refers to {other}, which stands behind a defence; name its network"
                    )
        in_order(self.hardened)
        for name in self.spending.made_on if self.spending else ():
            if name not in ("model", *self.surrogates):
                raise ValueError(f"spending is to be made on {name!r}{nearest(name, ['model', *self.surrogates])}")
        smoothed = self.certify.network if self.certify else "model"
        if smoothed not in ("model", *self.hardened):
            raise ValueError(f"certify is to smooth {smoothed!r}{nearest(smoothed, known)}")
        return self

    @model_validator(mode="after")
    def _gates(self) -> "Plan":
        check_gates(
            self.gate,
            budgets=self.budgets,
            goals=self.goals,
            attacks=[part.name for part in (*self.attacks, *self.adaptive, *self.detection.aware)],
            contenders=[*(part.name for part in self.defenses), *self.hardened],
            detectors=[part.name for part in self.detectors],
        )
        return self

    @property
    def searched(self) -> SmallestPlan | None:
        """The search for smallest budgets, which climbs gradients: none for a model that only answers."""
        return None if self.model.only_answers else self.smallest

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON."""
        return digest(self)


def read_plan(path: Path) -> Plan:
    """Read a YAML plan. Raises BadPlan naming the key, what was given and what was expected."""
    return make_plan(read_yaml(path, "plan"), base=path.parent)


def make_plan(raw: dict[str, Any], *, base: Path) -> Plan:
    """Check a plan given as a mapping; paths in it are relative to `base`."""
    return _anchored(checked(Plan, raw, "plan"), base)


def checked(record: type[R], raw: dict[str, Any], what: str) -> R:
    """The record, or BadPlan naming the key, what was given and what was expected."""
    try:
        return record.model_validate(raw)
    except ValidationError as error:
        raise BadPlan(_explain(error, record, what)) from None


def _anchored(plan: Plan, base: Path) -> Plan:
    """Make paths absolute, so that the plan means the same from anywhere."""

    def absolute(path: str | None) -> str | None:
        return None if path is None else str((base / path).resolve())

    def recipe(train: TrainingRecipe | None) -> TrainingRecipe | None:
        if train is None:
            return None
        hard = train.adversarial
        inner = hard.attack if hard else None
        if hard and inner:
            hard = hard.model_copy(update={"attack": inner.model_copy(update={"params": files(inner.params)})})
        return train.model_copy(update={"weights": absolute(train.weights), "adversarial": hard})

    def files(params: Mapping[str, Any]) -> dict[str, Any]:
        return {**params, **{key: absolute(params[key]) for key in FILES if isinstance(params.get(key), str)}}

    def anchored(part: Part) -> Part:
        return part.model_copy(update={"params": files(part.params)})

    return plan.model_copy(
        update={
            "attacks": tuple(anchored(part) for part in plan.attacks),
            "adaptive": tuple(anchored(part) for part in plan.adaptive),
            "detection": _anchored_detection(plan.detection, anchored),
            "gate": tuple(anchor_gate(sentence, base) for sentence in plan.gate),
            "data": plan.data.model_copy(
                update={key: absolute(getattr(plan.data, key)) for key in ("path", "patients", "labels")}
            ),
            "model": plan.model.model_copy(
                update={
                    "path": absolute(plan.model.path),
                    "card": absolute(plan.model.card),
                    "train": recipe(plan.model.train),
                }
            ),
            "surrogates": {
                name: other.model_copy(update={"path": absolute(other.path), "train": recipe(other.train)})
                for name, other in plan.surrogates.items()
            },
            "hardened": {
                name: other.model_copy(update={"path": absolute(other.path), "train": recipe(other.train)})
                for name, other in plan.hardened.items()
            },
        }
    )


def _anchored_detection(detection: DetectionPlan, anchored: Callable[[Part], Part]) -> DetectionPlan:
    learned = detection.learned
    if learned is not None:
        learned = learned.model_copy(update={"attacks": tuple(map(anchored, learned.attacks))})
    return detection.model_copy(update={"aware": tuple(map(anchored, detection.aware)), "learned": learned})


def _explain(error: ValidationError, record: type[Record], what: str) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        sections = {
            "data": DataPlan,
            "model": ModelPlan,
            "train": TrainingRecipe,
            "adversarial": AdversarialRecipe,
            "distill": DistillRecipe,
            "denoiser": DenoiserRecipe,
            "smallest": SmallestPlan,
            "surrogates": SurrogatePlan,
            "hardened": HardenedPlan,
            "spending": SpendingPlan,
            "certify": CertifyPlan,
            "detection": DetectionPlan,
            "learned": LearnedPlan,
            "endpoint": EndpointPlan,
        }
        owner = record
        for part in first["loc"][:-1]:
            owner = sections.get(str(part), owner)
        return f"the {what} has no key {where!r}{nearest(str(first['loc'][-1]), owner.model_fields)}"
    advice = "; write a budget as 4/255, or as a number above 0 and at most 1" if where.startswith("budgets") else ""
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    got = "" if isinstance(given, dict) else f", got {given!r}"  # a whole section says nothing
    return ": ".join(part for part in (what, where, f"{message}{got}{advice}") if part)
