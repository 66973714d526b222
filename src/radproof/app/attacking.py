# SPDX-License-Identifier: Apache-2.0
"""Make a plan's adversarial images alone."""

from pathlib import Path

from radproof.assess import sheltered
from radproof.assess.plan import Plan
from radproof.assess.sections import DetectionPlan
from radproof.core.progress import SILENT, Progress
from radproof.data.manifest import Manifest


def attack(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Manifest:
    """Only make the plan's adversarial images: PNG files and a manifest in `out`/images."""
    unscored = {"defenses": (), "hardened": {}, "detectors": (), "smallest": None, "spending": None, "survival": False}
    bare = plan.model_copy(update={**unscored, "detection": DetectionPlan()})
    return sheltered.craft_only(bare, out, overwrite=overwrite, progress=progress)
