# SPDX-License-Identifier: Apache-2.0
"""What the images themselves show: the gallery, the forensic rule, what predicts the answer beside the anatomy."""

from radproof.core.records import Estimate, Record


class Picture(Record):
    """One row of the gallery; images are files of the run's images folder or data of figures.npz."""

    sample: str
    truth: str
    attack: str
    budget: str
    clean_answer: str
    clean_confidence: float
    attacked_answer: str
    attacked_confidence: float
    defended_answer: str | None
    defended_confidence: float | None
    defense: str | None
    files: dict[str, str]  # original, attacked, defended, difference, cam_before, cam_after -> path within the run


class PairedCheck(Record):
    """The forensic rule, which needs the original; never a detector."""

    attack: str
    budget: str
    flagged: Estimate
    flagged_without_label_rule: Estimate


class Shortcut(Record):
    """What something other than the anatomy can predict."""

    name: str  # "thumbnail", "view", "age_sex", "file_size"
    auroc: Estimate
    accuracy: Estimate
