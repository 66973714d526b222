# SPDX-License-Identifier: Apache-2.0
"""radproof: the crash-test laboratory for medical-imaging CNNs.

The names below are the public interface; each is imported when first used, so that `import radproof` costs nothing.
The use cases (assess, attack, defend, detect, train, audit, report) are functions of `radproof.app`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radproof.assess.plan import Plan, make_plan, read_plan
    from radproof.assess.result import Result
    from radproof.attacks import attack, corruption
    from radproof.core.goals import goal
    from radproof.core.records import Doubt, Estimate
    from radproof.core.registry import Need, Registry
    from radproof.core.rng import generator
    from radproof.data.manifest import Manifest, Sample
    from radproof.defenses import defense
    from radproof.defenses.defended import Defended
    from radproof.detectors import detector
    from radproof.detectors.calibrate import calibrate
    from radproof.detectors.paired_check import paired_check
    from radproof.errors import BadInput, RadproofError
    from radproof.models.card import ModelCard, load_model
    from radproof.models.classifier import ImageClassifier
    from radproof.models.explain import grad_cam
    from radproof.models.predict import Predictor
    from radproof.training.recipe import TrainingRecipe

__version__ = "0.6.0"

_HOMES = {
    "BadInput": "errors",
    "Defended": "defenses.defended",
    "Doubt": "core.records",
    "Estimate": "core.records",
    "ImageClassifier": "models.classifier",
    "Manifest": "data.manifest",
    "ModelCard": "models.card",
    "Need": "core.registry",
    "Plan": "assess.plan",
    "Predictor": "models.predict",
    "RadproofError": "errors",
    "Registry": "core.registry",
    "Result": "assess.result",
    "Sample": "data.manifest",
    "TrainingRecipe": "training.recipe",
    "attack": "attacks",
    "calibrate": "detectors.calibrate",
    "corruption": "attacks",
    "defense": "defenses",
    "detector": "detectors",
    "generator": "core.rng",
    "goal": "core.goals",
    "grad_cam": "models.explain",
    "load_model": "models.card",
    "make_plan": "assess.plan",
    "paired_check": "detectors.paired_check",
    "read_plan": "assess.plan",
}

__all__ = [
    "BadInput",
    "Defended",
    "Doubt",
    "Estimate",
    "ImageClassifier",
    "Manifest",
    "ModelCard",
    "Need",
    "Plan",
    "Predictor",
    "RadproofError",
    "Registry",
    "Result",
    "Sample",
    "TrainingRecipe",
    "__version__",
    "attack",
    "calibrate",
    "corruption",
    "defense",
    "detector",
    "generator",
    "goal",
    "grad_cam",
    "load_model",
    "make_plan",
    "paired_check",
    "read_plan",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"radproof.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'radproof' has no attribute {name!r}")
