# SPDX-License-Identifier: Apache-2.0
"""What graded corruptions leave of the accuracy."""

from radproof.core.records import Estimate, Record


class CorruptionRow(Record):
    """One graded corruption at one severity."""

    corruption: str  # "rotation", "blur[motion]"
    severity: int  # 1 to 5
    accuracy: Estimate
    ssim: Estimate | None


class CorruptionSummary(Record):
    """What one contender makes of the graded corruptions; every corruption counts alike, however many its grades."""

    defense: str  # "none" or the contender
    clean: Estimate  # share answered rightly without corruption
    rows: tuple[CorruptionRow, ...]
    accuracy: Estimate  # mean over the corruptions of their mean over severities
    error: Estimate  # mean corruption error: one less the accuracy
    kept: Estimate  # accuracy as a share of the clean one
    relative_error: Estimate | None  # errors as a share of the reference's, mean over corruptions (mCE)
    reference: str  # "none": the bare model; "" where there is none
