# SPDX-License-Identifier: Apache-2.0
"""The work of a plan as a list: which images are made, on which model, for which goal, and who scores them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from radproof.assess.parts import Settled
from radproof.assess.plan import Plan
from radproof.attacks.cost import passes_per_image
from radproof.core.params import show_fraction
from radproof.core.records import digest
from radproof.core.types import Attack, Backward, Defense
from radproof.detectors.registry import Learner

Kind = Literal["clean", "attack", "corruption"]
Role = Literal["model", "surrogate", "defense", "detector"]


@dataclass(frozen=True)
class Job:
    """One set of images to make and score."""

    kind: Kind
    label: str  # "none" for clean images, else the attack's or corruption's label
    params: dict[str, Any]
    goal: str = ""
    eps: float = 0.0
    on: str = "model"  # model, or the name of a surrogate, a contender or a detector
    backward: Backward = "none"
    threat: str = ""  # what bounds it: linf, l2, style, …, visible
    limits: str = ""  # the same in words, where it is no budget
    role: Role = "model"  # what `on` is

    @property
    def budget(self) -> str:
        """'4/255', or '' for none."""
        return show_fraction(self.eps) if self.eps else ""

    @property
    def made_on(self) -> str:
        """How results say it: model, a surrogate's name, "jpeg_tvm (twin)"."""
        return f"{self.on} ({self.backward})" if self.backward != "none" else self.on

    @property
    def key(self) -> str:
        """A readable, unique folder name."""
        words = [self.label, self.goal, self.budget.replace("/", "-"), self.made_on]
        readable = "_".join(re.sub(r"[^a-z0-9.-]+", "-", word.lower()).strip("-") for word in words if word)
        return f"{readable}_{digest(self.identity())[:8]}"

    def identity(self) -> list[Any]:
        """What the job's random numbers are seeded from, beside the plan's seed and the batch."""
        return [self.kind, self.label, self.params, self.goal, self.eps, self.on, self.backward]


class Standing(Protocol):
    """What the list of jobs, and what it costs, asks of a contender."""

    @property
    def climbable(self) -> bool:
        """Whether it has a gradient."""
        ...

    @property
    def ways(self) -> tuple[Backward, ...]:
        """The backward passes that an adaptive attacker tries."""
        ...

    @property
    def random(self) -> bool:
        """Whether it may answer the same image differently."""
        ...

    @property
    def votes(self) -> int:
        """Passes of its defence for each answer."""
        ...


@dataclass(frozen=True)
class Parts:
    """The plan's parts, checked."""

    attacks: dict[str, Settled[Attack]]
    adaptive: dict[str, Settled[Attack]]
    corruptions: dict[str, Settled[Any]]
    defenses: dict[str, Settled[Defense]]
    behind: dict[str, dict[str, Settled[Defense]]]  # hardened network -> what stands in front of it
    detectors: dict[str, Settled[Learner]]
    aware: dict[str, Settled[Attack]]  # made against each detector
    learned: dict[str, Settled[Attack]]  # that detectors are also trained with


def list_jobs(plan: Plan, parts: Parts, contenders: Mapping[str, Standing]) -> list[Job]:
    """Every job of a plan, clean images first."""
    return [
        Job("clean", "none", {}),
        *_attacks(plan, parts),
        *_adaptive(plan, parts, contenders),
        *_aware(plan, parts),
        *(Job("corruption", name, part.params, threat=part.recipe.threat) for name, part in parts.corruptions.items()),
    ]


def _attacks(plan: Plan, parts: Parts) -> Iterator[Job]:
    for on in ("model", *plan.surrogates):
        role: Role = "model" if on == "model" else "surrogate"
        for goal in plan.goals:
            for label, part in parts.attacks.items():
                if on == "model" and plan.model.only_answers and uses_gradients(part):
                    continue  # made on surrogates alone
                for eps in budgets(plan, part):
                    yield _job(label, part, goal, eps, on, role)


def _adaptive(plan: Plan, parts: Parts, contenders: Mapping[str, Standing]) -> Iterator[Job]:
    for name, contender in contenders.items():
        for goal in plan.goals:
            for label, part in parts.adaptive.items():
                # An attack that asks only for answers needs no backward pass through the defence.
                climbs = uses_gradients(part)
                if climbs and not contender.climbable:
                    continue
                ways: tuple[Backward, ...] = contender.ways if climbs else ("none",)
                for way in ways:
                    for eps in budgets(plan, part):
                        yield _job(label, part, goal, eps, name, "defense", way)


def _aware(plan: Plan, parts: Parts) -> Iterator[Job]:
    for name in parts.detectors if plan.detection.against is None else plan.detection.against:
        for goal in plan.goals:
            for label, part in parts.aware.items():
                for eps in budgets(plan, part):
                    yield _job(label, part, goal, eps, name, "detector")


def _job(
    label: str, part: Settled[Attack], goal: str, eps: float, on: str, role: Role, backward: Backward = "none"
) -> Job:
    params, recipe = _without_eps(part.params), part.recipe
    limits = recipe.limits(part.params) if recipe.limits else ""
    return Job("attack", label, params, goal, eps, on, backward, recipe.threat, limits, role)


def budgets(plan: Plan, part: Settled[Attack]) -> tuple[float, ...]:
    """The plan's, or one 0 for an attack that is bounded by limits of its own."""
    return plan.budgets if "eps" in part.params else (0.0,)


def uses_gradients(part: Settled[Attack]) -> bool:
    """Whether the attack takes gradients; square asks for answers alone."""
    return passes_per_image(part.recipe.name, part.params).backwards > 0


def gradients(job: Job, parts: Parts) -> tuple[float, float]:
    """(forwards, backwards) that a job costs per image."""
    part = attacks_of(job, parts).get(job.label)
    if job.kind != "attack" or part is None:
        return 0.0, 0.0
    passes = passes_per_image(part.recipe.name, part.params)
    return float(passes.forwards), float(passes.backwards)


def attacks_of(job: Job, parts: Parts) -> dict[str, Settled[Attack]]:
    """The part of the plan that a job's attack stands in."""
    return parts.adaptive if job.role == "defense" else parts.aware if job.role == "detector" else parts.attacks


def _without_eps(params: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != "eps"}
