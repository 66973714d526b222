# SPDX-License-Identifier: Apache-2.0
"""Which pictures of a run's images can be drawn when they are asked for, and why others cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DRAWN = ("defended", "cam_before", "cam_after")
_NO_DEFENSE = "this run has no defence that changes the image, so there is no defended picture"


@dataclass(frozen=True)
class Drawable:
    """What a plan says of its model and its defences."""

    only_answers: bool  # nothing is known of the model but its answers
    defenses: tuple[Mapping[str, Any], ...]  # parts, in the plan's order
    hardened: Mapping[str, Mapping[str, Any]]
    preset: str
    seed: int
    head: str
    labels: tuple[str, ...]
    fingerprint: str  # of the model

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> "Drawable":
        """From result.json."""
        plan = result["plan"]
        return cls(
            bool(plan["model"].get("endpoint") or plan["model"].get("black_box")),
            tuple(plan.get("defenses") or ()),
            plan.get("hardened") or {},
            str(plan.get("preset") or ""),
            int(plan.get("seed") or 0),
            str(result["head"]),
            tuple(result["labels"]),
            str(result["provenance"].get("model", "")),
        )

    def why_not(self, kind: str, defense: str) -> str:
        """Why a picture cannot be drawn of an image that was answered behind `defense`; "" where it can."""
        if kind == "defended":
            return self._no_defense(defense)
        other = self.hardened.get(defense)
        if self.only_answers:
            return "this model only answers: it shows no feature maps, so there is no Grad-CAM of it"
        if other is not None and other.get("like") != "model":
            return f"{defense}, another network, answered this image; Grad-CAM is drawn of the assessed model alone"
        return ""

    def parts(self, defense: str) -> tuple[tuple[Mapping[str, Any], ...], str]:
        """The defence before an image's answer: parts, and the label of the one that is meant, "" for all in order.

        Of an image that the bare model answered: the plan's first.
        """
        if defense in self.hardened:
            return tuple(self.hardened[defense].get("behind") or ()), ""
        return (self.defenses[:1], "") if defense == "none" else (self.defenses, defense)

    def _no_defense(self, defense: str) -> str:
        other = self.hardened.get(defense)
        if other is None:
            return "" if self.defenses else _NO_DEFENSE
        if other.get("denoiser"):
            return f"{defense} holds a denoiser, a trained network; what it hands on is not drawn"
        if not other.get("behind"):
            return f"{defense} is another network and changes no image, so there is no defended picture"
        return ""


NOTHING = Drawable(True, (), {}, "", 0, "softmax", (), "")  # of a table without its result


def answered(labels: Sequence[str], class_: int | None) -> str:
    """A class that a heat map speaks for, in words."""
    return labels[class_] if class_ is not None and class_ < len(labels) else "what the model itself answers"
