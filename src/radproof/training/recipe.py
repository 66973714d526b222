# SPDX-License-Identifier: Apache-2.0
"""Every parameter of a training, in one frozen record: a plan holds it, a model card repeats it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from radproof.core.files import sha256_file
from radproof.core.params import Fraction
from radproof.core.records import Record
from radproof.training.hardening import AdversarialRecipe, DistillRecipe

Rate = Annotated[float, Field(gt=0, le=10)]
Epochs = Annotated[int, Field(ge=0, le=1000)]


class AugmentRecipe(Record):
    """Random changes of the training fold that a thorax survives: never a vertical flip."""

    enabled: bool = Field(default=True, description="Whether training images are changed at random at all.")
    rotation: float = Field(default=10.0, ge=0, le=45, description="Largest turn to either side, in degrees.")
    zoom: float = Field(default=0.1, ge=0, le=0.5, description="Largest change of scale: 0.1 is 90 % to 110 %.")
    shift: float = Field(default=0.05, ge=0, le=0.5, description="Largest shift, as a share of height and width.")
    exposure: float = Field(default=0.15, ge=0, le=0.9, description="Largest change of brightness, contrast and gamma.")
    flip: bool = Field(
        default=False, description="Mirror half of the images left to right; moves the heart to the right."
    )
    style: float = Field(
        default=0.0, ge=0, le=1, description="Share of images given the look of another training image's scanner."
    )
    style_strength: float = Field(default=1.0, gt=0, le=1, description="How far towards that look: 1 is all the way.")
    augmix: bool = Field(default=False, description="Blend each image with chains of random operations (AugMix).")
    augmix_severity: float = Field(
        default=3.0, ge=0, le=10, description="How strong AugMix's operations are; 0 leaves images as they are."
    )
    augmix_width: int = Field(default=3, ge=1, le=8, description="Chains that AugMix blends.")


class TrainingRecipe(Record):
    """How a classifier is made: a head on a frozen backbone first, then the last layers along with it."""

    architecture: str = Field(default="densenet121", min_length=1, description="A timm network by name, or cxrnet.")
    weights: str | None = Field(default=None, description="A safetensors file of pretrained backbone weights.")
    pretrained: bool = Field(default=False, description="Fetch timm's pretrained weights (needs the network).")
    input_size: int = Field(
        default=224, ge=16, le=2048, description="Side of the square that the network sees, in pixels."
    )
    hidden: int = Field(
        default=256, ge=0, le=65536, description="Units of the hidden layer of the head; 0: a linear head."
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Share of head units dropped while training.")
    l2: float = Field(default=1e-4, ge=0, le=1, description="Weight of the squared norm of the hidden layer's weights.")
    head_epochs: Epochs = Field(default=10, description="Epochs of the head alone, on cached features.")
    head_lr: Rate = Field(default=1e-3, description="Learning rate of the head alone.")
    epochs: Epochs = Field(default=20, description="Epochs of fine-tuning.")
    unfreeze: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        default=50, description="Last backbone layers (modules that hold weights) that fine-tuning changes, or all."
    )
    lr: Rate = Field(default=1e-5, description="Learning rate of fine-tuning.")
    optimiser: Literal["adam", "adamw"] = Field(
        default="adam", description="Adam, or Adam with decoupled weight decay."
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Weight decay of the optimiser.")
    schedule: Literal["plateau", "onecycle"] = Field(
        default="plateau", description="Lower the rate when validation loss stalls, or one cycle up and down."
    )
    plateau_factor: float = Field(default=0.5, gt=0, lt=1, description="What the rate is multiplied with on a plateau.")
    plateau_patience: int = Field(
        default=3, ge=1, le=1000, description="Epochs without a lower validation loss before that."
    )
    lr_floor: float = Field(default=1e-7, ge=0, le=1, description="The rate never falls below this.")
    patience: int = Field(
        default=5, ge=1, le=1000, description="Epochs without a lower validation loss before stopping."
    )
    batch: int = Field(default=32, ge=4, le=4096, description="Images per step.")
    balance: Literal["none", "class_weights", "sampling"] = Field(
        default="class_weights",
        description="How rare classes are made up for: not, in the loss, or by drawing them more often.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Arithmetic of training; auto takes bfloat16 where it is faster.",
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="Seed of weights, order, dropout and augmentation.")
    augment: AugmentRecipe = Field(default_factory=AugmentRecipe, description="Random changes of training images.")
    adversarial: AdversarialRecipe | None = Field(default=None, description="Training on attacked images.")
    noise: Annotated[float, Fraction] = Field(
        default=0.0, ge=0, le=1, description="Standard deviation of Gaussian noise on every training image, or n/255."
    )
    distill: DistillRecipe | None = Field(
        default=None, description="Training at a temperature, with or without teacher."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.adversarial is not None) + (self.distill is not None) + (self.noise > 0) > 1:
            raise ValueError("adversarial, noise and distill are different trainings; give one of them")
        if (self.adversarial is not None or self.noise) and not self.epochs:
            raise ValueError("adversarial and noise are of fine-tuning; give epochs: 1 or more")
        return self


def without_folders(recipe: TrainingRecipe, say: Callable[[Path], str]) -> dict[str, Any]:
    """The recipe as JSON: `say` stands for the files of an inner attack, and the weights have a name without folder."""
    told = recipe.model_dump(mode="json")
    told["weights"] = recipe.weights and Path(recipe.weights).name
    inner = (told["adversarial"] or {}).get("attack")
    for key in ("network", "mask"):
        if inner and isinstance(inner["params"].get(key), str):
            inner["params"][key] = say(Path(inner["params"][key]))
    return told


LATER = ("adversarial", "noise", "distill")
LATER_OF_AUGMENT = ("style", "style_strength", "augmix", "augmix_severity", "augmix_width")


def plain(recipe: TrainingRecipe) -> dict[str, Any]:
    """The recipe as JSON for digests, without the weights' path: their content is in the model's fingerprint.

    Keys that came later are left out at their defaults, so that what older versions trained is still known.
    """
    told = without_folders(recipe, sha256_file)
    del told["weights"]
    usual = TrainingRecipe().model_dump(mode="json")
    for now, then, later in ((told, usual, LATER), (told["augment"], usual["augment"], LATER_OF_AUGMENT)):
        for key in later:
            if now[key] == then[key]:
                del now[key]
    return told
