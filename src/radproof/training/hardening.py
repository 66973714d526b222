# SPDX-License-Identifier: Apache-2.0
"""The parts of a training recipe that are to make a network harder to fool."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from radproof.attacks import attack
from radproof.core.params import Epsilon, Fraction, Steps
from radproof.core.records import Record
from radproof.core.registry import named, split_name

Method = Literal["pgd", "fast", "trades", "mart"]
OWN_STEPS: dict[str, int] = {"pgd": 7, "fast": 1, "trades": 10, "mart": 10}
FAST_STRIDE = 1.25  # of eps (Wong et al.)
OVERSHOOT = 2.5  # otherwise the steps cover the radius so many times


class InnerAttack(Record):
    """A registered attack by name, with the parameters that differ from its defaults."""

    name: str = Field(min_length=1, description="A registered attack.")
    params: dict[str, Any] = Field(default_factory=dict[str, Any], description="Its parameters, without eps.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.settled()
        return self

    def settled(self) -> tuple[str, dict[str, Any]]:
        """The recipe's name and all its parameters. Raises UnknownName and BadPlan for what is none."""
        name, variant = split_name(self.name)
        recipe, params = attack[name], dict(self.params)
        if "eps" in params:
            raise ValueError(f"give the budget as adversarial.eps, not as {name}'s own eps")
        if variant is not None:
            if recipe.variant is None:
                raise ValueError(f"attack {name} has no variants; write {name!r} instead of {self.name!r}")
            params.setdefault(recipe.variant, variant)
        return name, recipe.settle(params)


class AdversarialRecipe(Record):
    """Training on attacked images: fine-tuning only, the attack made anew for every batch."""

    method: Method = Field(
        default="pgd",
        description="pgd (Madry 2018), fast (Wong 2020), trades (Zhang 2019) or mart (Wang 2020; softmax heads).",
    )
    eps: Epsilon = Field(
        default=2 / 255,
        description="Budget in [0, 1] pixel units at the network's input size, or n/255.",
    )
    warm_up: int = Field(default=0, ge=0, le=1000, description="Epochs before the full budget, growing linearly.")
    steps: Steps | None = Field(
        default=None, description="Steps of the method's own attack; none: 7 for pgd, 10 for trades and mart, fast: 1."
    )
    step_size: Annotated[float, Fraction, Field(gt=0, le=1)] | None = Field(
        default=None, description="Size of its step at the full budget, or n/255; none: 2.5*eps/steps, fast: 1.25*eps."
    )
    beta: float = Field(default=6.0, ge=0, le=1000, description="Weight of the divergence in trades and mart.")
    attack: Annotated[InnerAttack, BeforeValidator(named)] | None = Field(
        default=None, description="A registered attack with its parameters, instead of the method's own."
    )
    clean_share: float = Field(
        default=0.0, ge=0, lt=1, description="Share of every batch that is left clean (pgd and fast)."
    )
    validation_steps: Steps = Field(
        default=10, description="PGD steps against validation images after every epoch, at the full budget."
    )
    validation_images: int = Field(
        default=256, ge=2, le=1_000_000, description="Validation images that are attacked, at most."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.attack is not None and self.method == "fast":
            raise ValueError("method fast is its own attack; give attack: with method pgd, trades or mart")
        if self.attack is not None and (self.steps is not None or self.step_size is not None):
            raise ValueError("steps and step_size are of the method's own attack; give steps among attack's parameters")
        if self.method == "fast" and self.steps not in (None, 1):
            raise ValueError("method fast takes one step; leave steps out, or choose method pgd")
        if self.method in ("trades", "mart") and self.clean_share:
            raise ValueError(f"method {self.method} weighs clean images by beta; leave clean_share out")
        return self

    @property
    def own_steps(self) -> int:
        """Steps of the method's own attack."""
        return self.steps or OWN_STEPS[self.method]

    @property
    def stride(self) -> float:
        """Its step as a share of the budget."""
        if self.step_size is not None:
            return self.step_size / self.eps
        return FAST_STRIDE if self.method == "fast" else OVERSHOOT / self.own_steps

    def budget(self, epoch: int) -> float:
        """The budget of an epoch, from 1: a straight line up to eps over `warm_up` epochs."""
        return self.eps * min(1.0, epoch / (self.warm_up + 1))


class DistillRecipe(Record):
    """Training at a temperature: of a teacher on labels, or of a student on a teacher's answers (Papernot 2016)."""

    temperature: float = Field(
        default=20.0, ge=1, le=1000, description="What logits are divided by while training, and only then."
    )
