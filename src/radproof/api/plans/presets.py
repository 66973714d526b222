# SPDX-License-Identifier: Apache-2.0
"""Four assessments that most people begin with, each a fragment of a plan to which a model and data are added."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from radproof.api.http.problems import Problem
from radproof.core.names import nearest

NORMAL = ("Normal", "No Finding")  # one of them is needed by the goals of the clinic
CLINICAL_GOALS = ("missed-finding", "false-alarm")
BLIND = ("square", "hopskipjump_linf")  # ask for answers alone

_FIRST = {"preset": "quick", "batch": 16, "detection": {"required": False}}
_ADAPTIVE = ["pgd", {"name": "square", "queries": 100}]
_SMALL = {
    "architecture": "cxrnet",
    "input_size": 64,
    "hidden": 0,
    "dropout": 0.0,
    "head_epochs": 0,  # nothing is pretrained, so there is no base to freeze
    "epochs": 20,
    "unfreeze": "all",
    "optimiser": "adamw",
    "lr": 0.002,
    "schedule": "onecycle",
    "patience": 50,
}


@dataclass(frozen=True)
class Preset:
    """A fragment of a plan with its name."""

    name: str
    title: str
    sentence: str  # what it answers
    images: int  # test images, unless told otherwise
    plan: Mapping[str, Any]
    surrogates: bool = False  # attacks are also made on other networks


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        one.name: one
        for one in (
            Preset(
                "quick-look",
                "Quick look",
                "Minutes: three attacks at two budgets on a few images, and one defence.",
                24,
                {
                    **_FIRST,
                    "attacks": ["fgsm", "pgd", "sia"],
                    "budgets": ["1/255", "4/255"],
                    "goals": ["misclassify"],
                    "defenses": ["jpeg_tvm"],
                    "adaptive": ["pgd", {"name": "square", "queries": 40}],
                    "smallest": None,
                    "survival": False,
                    "gallery": 6,
                },
            ),
            Preset(
                "clinical",
                "Clinical",
                "What a clinic fears: missed findings and false alarms at small budgets, and whether an attack shows.",
                100,
                {
                    **_FIRST,
                    "attacks": ["pgd", "sia", "stm", "pgn", "usmm"],
                    "budgets": ["1/255", "2/255", "4/255"],
                    "goals": list(CLINICAL_GOALS),
                    "defenses": ["jpeg_tvm"],
                    "adaptive": _ADAPTIVE,
                    "detectors": ["drift"],
                    "corruptions": ["block_transform"],
                    "smallest": {"images": 50, "rounds": 5},
                    "gallery": 8,
                },
            ),
            Preset(
                "transfer",
                "Transfer",
                "Attackers without the model: images made on other networks, and how many of them fool this one.",
                100,
                {
                    **_FIRST,
                    "attacks": ["mi", "dim", "tim", "sia", "stm", "pgn", "usmm", "bsr"],
                    "budgets": ["1/255", "2/255", "4/255", "8/255"],
                    "goals": ["misclassify"],
                    "smallest": None,
                    "gallery": 6,
                },
                surrogates=True,
            ),
            Preset(
                "full",
                "Full",
                "Everything: strong, blind, transferred and visible attacks, defences that attackers know, detectors.",
                200,
                {
                    **_FIRST,
                    "attacks": [
                        "fgsm", "pgd", "apgd", "mi", "sia", "stm", "pgn", "usmm", "square", "style", "bias_field",
                        "exposure", "spatial", "universal", "frequency",
                    ],
                    "budgets": ["1/255", "2/255", "4/255", "8/255"],
                    "goals": ["misclassify", *CLINICAL_GOALS],
                    "defenses": ["jpeg", "tvm", "jpeg_tvm"],
                    "adaptive": [*_ADAPTIVE, "bias_field"],
                    "detectors": ["drift", "consistency", "frequency"],
                    "corruptions": [
                        "block_transform", "blur", "gamma", "quantum_noise", "rotation", "window_level",
                        "jpeg_artefacts",
                    ],
                    "smallest": {"images": 100, "rounds": 6},
                    "gallery": 12,
                },
                surrogates=True,
            ),
        )
    }
)  # fmt: skip


def preset(name: str) -> Preset:
    """By its name. Raises Problem 422 with the nearest known one."""
    if name not in PRESETS:
        raise Problem(422, f"preset: no preset named {name[:40]!r}{nearest(name[:40], list(PRESETS))}")
    return PRESETS[name]


def small(seed: int) -> dict[str, Any]:
    """A recipe for a network that is trained in a minute."""
    return {**_SMALL, "seed": seed}


def composed(
    name: str,
    *,
    model: str,
    data: str | None = None,
    labels: Sequence[str] = (),
    only_answers: bool = False,
    images: int | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """A whole plan of this server: `model` and `data` are names of its database.

    No `data`: drawn phantoms. `labels`: the classes of the data, where they are known; goals of the clinic need one
    called Normal or No Finding. Where the preset wants another network, a small one is trained. `only_answers`: the
    model gives no gradient.
    """
    chosen = preset(name)
    plan: dict[str, Any] = {"name": chosen.name, "title": chosen.title, "seed": seed, **deepcopy(dict(chosen.plan))}
    count = images or chosen.images
    if data is None:
        plan["data"] = {"kind": "phantom", "count": max(600, 5 * count), "size": 64, "seed": seed, "images": count}
    else:
        plan["data"] = {"id": data, "images": count, "seed": seed}
    plan["model"] = {"id": model}
    if labels and not set(labels) & set(NORMAL):
        plan["goals"] = [goal for goal in plan["goals"] if goal not in CLINICAL_GOALS] or ["misclassify"]
    if chosen.surrogates:
        plan["surrogates"] = {"cxrnet": {"train": small(seed)}}
    if only_answers:
        plan |= _answering(plan)
    return plan


def _answering(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What changes where nothing climbs the model's gradient: attacks that ask, or that are made on others."""
    kept = [*plan["attacks"]] if "surrogates" in plan else []
    told: dict[str, Any] = {"attacks": [*(one for one in kept if one not in BLIND), *BLIND], "smallest": None}
    if plan.get("detectors"):
        told["detectors"] = ["consistency"]
    if plan.get("adaptive"):
        told["adaptive"] = [{"name": "square", "queries": 100}]
    return told
