# SPDX-License-Identifier: Apache-2.0
"""The plan's detectors, taught and calibrated before anything is judged."""

from pathlib import Path

from radproof.assess import taught
from radproof.assess.material import Material
from radproof.assess.watching import Watching, enough, one_grid, teach_detectors
from radproof.core.progress import Progress
from radproof.data.load import load_batch
from radproof.data.manifest import Manifest
from radproof.detectors.feature_space import FeatureSpace
from radproof.errors import BadInput


def fit_detectors(material: Material, work: Path, progress: Progress) -> None:
    """Teach the plan's detectors on clean training images and set their thresholds on clean validation images.

    What they learnt is kept in the folder `work`, and read back by a later start.
    """
    plan, parts = material.plan, material.parts
    if not parts.detectors:
        return
    train, calibration = _to_learn_from(material)
    try:
        one_grid(train, calibration, material.test)
        material.detectors = _taught(material, train, calibration, work / taught.NAME, progress)
    except BadInput as error:
        if plan.detection.required:
            raise
        material.untaught = str(error)
        progress.note(f"no detector was taught: {error}")
        return
    if any("features" in part.recipe.needs.values() for part in parts.aware.values()):
        some = enough(train, plan.detection.images, plan.seed)
        material.features = FeatureSpace.of(material.model, load_batch(some, some.samples, material.device))


def _taught(
    material: Material, train: Manifest, calibration: Manifest, kept: Path, progress: Progress
) -> dict[str, Watching]:
    """As an earlier start left them, else taught and kept."""
    plan = material.plan
    learners = {label: part.make() for label, part in material.parts.detectors.items()}
    found = taught.read(kept, learners, material.model) or teach_detectors(
        learners,
        material.model,
        plan.detection,
        train,
        calibration,
        rate=plan.false_positive_rate,
        seed=plan.seed,
        device=material.device,
        progress=progress,
    )
    if not kept.is_file():
        taught.keep(kept, found)
    return found


def _to_learn_from(material: Material) -> tuple[Manifest, Manifest]:
    """Images to learn the usual from, and others, of other patients, to set thresholds on."""
    train = material.manifest.fold("train")
    if material.plan.data.fold != "validation":
        return train, material.manifest.fold("validation")
    patients = sorted({sample.patient or sample.id for sample in train.samples})  # validation patients are assessed
    half = set(patients[::2])
    first, second = (
        train.only(s for s in train.samples if ((s.patient or s.id) in half) is own) for own in (True, False)
    )
    return first, second
