# SPDX-License-Identifier: Apache-2.0
"""What a network must be told to be built again: kept by the network itself and written in its card."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from radproof.core.records import Record
from radproof.core.types import Head

Label = Annotated[str, Field(min_length=1, max_length=100)]
Deviation = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=16, le=2048)]
Resize = Literal["bilinear", "bicubic"]


class Blueprint(Record):
    """Everything about an ImageClassifier but its weights."""

    architecture: str = Field(
        min_length=1, description="A timm network by name, cxrnet, torchvision:NAME, or the kind of an imported file."
    )
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=1000)] = Field(
        description="Class names, in the order of the logits."
    )
    head: Head = Field(default="softmax", description="One class per image, or findings side by side.")
    input_size: Side | tuple[Side, Side] = Field(
        default=224, description="Side of the square that the network sees, or its height and width."
    )
    hidden: int = Field(default=256, ge=0, le=65536, description="Units of the head's hidden layer; 0: none.")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Share of head units dropped while training.")
    channels: Literal[1, 3] = Field(default=3, description="Channels that the backbone takes.")
    range: tuple[float, float] = Field(
        default=(0.0, 1.0), description="What black and white become before mean and std: 0 and 255, say."
    )
    order: Literal["rgb", "bgr"] = Field(default="rgb", description="Of the channels that the network takes.")
    resize: Resize = Field(default="bilinear", description="How images come to that size; always antialiased.")
    mean: tuple[float, ...] = Field(description="Subtracted from each channel, in the network's order and range.")
    std: tuple[Deviation, ...] = Field(description="What each channel is then divided by.")
    imported: str = Field(
        default="", pattern=r"^([0-9a-f]{64})?$", description="sha256 of the file of another framework it comes from."
    )
    temperature: float = Field(default=1.0, ge=1e-3, le=1e3, description="What logits are divided by.")

    @field_validator("labels")
    @classmethod
    def _names(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) < len(labels):
            raise ValueError("class names must differ from each other")
        if not all(label.isprintable() and label.strip() == label for label in labels):
            raise ValueError("class names must be printable, without spaces around them")
        return labels

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.head == "softmax" and len(self.labels) < 2:
            raise ValueError("a softmax head needs two classes or more; one finding alone is a sigmoid head")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need {self.channels} numbers each, one per channel")
        if self.range[0] == self.range[1]:
            raise ValueError("range gives black and white the same value")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the network sees."""
        return (self.input_size, self.input_size) if isinstance(self.input_size, int) else self.input_size

    def told(self) -> dict[str, Any]:
        """What a fingerprint is made over: entries that later versions added count only where they say something."""
        later = ("range", "order", "resize", "imported")
        usual = {name: Blueprint.model_fields[name].default for name in later}
        blueprint = {name: getattr(self, name) for name in Blueprint.model_fields}
        return {name: value for name, value in blueprint.items() if name not in usual or value != usual[name]}
