# SPDX-License-Identifier: Apache-2.0
"""The data set of a plan: opened and split, and the images to assess chosen."""

from pathlib import Path

from radproof.assess.plan import Plan
from radproof.assess.sections import DataPlan
from radproof.core.progress import Progress
from radproof.data.damaged import Damage, refuse
from radproof.data.manifest import Manifest
from radproof.data.sources import open_data
from radproof.data.subsets import take


def open_manifest(data: DataPlan, cache: Path, progress: Progress, *, damaged: Damage = refuse) -> Manifest:
    """The data set, split; `damaged` as in data.foreign."""
    return open_data(
        data.kind,
        None if data.path is None else Path(data.path),
        classes=data.classes,
        multi_label=data.multi_label,
        split=data.split,
        size=data.size,
        window=data.window,
        count=data.count,
        seed=data.seed,
        balance=data.balance,
        inflate=data.inflate,
        patients=None if data.patients is None else Path(data.patients),
        labels=None if data.labels is None else Path(data.labels),
        label_tag=data.label_tag,
        voi=data.voi,
        axis=data.axis,
        slices=data.slices,
        damaged=damaged,
        cache=cache,
        progress=progress,
    )


def chosen(plan: Plan, manifest: Manifest) -> Manifest:
    """The images to assess: the plan's fold, or as many of it as the plan says."""
    test = manifest.fold(plan.data.fold)
    return test if plan.data.images is None else take(test, plan.data.images, seed=plan.data.seed)
