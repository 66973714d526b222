# SPDX-License-Identifier: Apache-2.0
"""From scores to a yes or no with a promise: at most so many clean images are flagged.

Split conformal prediction: Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005. With n clean
scores the ⌈(n + 1)(1 − rate)⌉-th smallest keeps the rate on average over draws of calibration and test images, whatever
the scores' distribution, if both come from the same source. Another hospital or scanner is another source.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from radproof.core.records import Record
from radproof.errors import BadInput


class Threshold(Record):
    """An image is flagged when its score is above `value`; None where too few images were given to promise anything."""

    value: float | None
    promised: float  # false-positive rate
    n: int  # clean images it was set on
    reason: str = ""  # why it was refused


def calibrate(scores: ArrayLike, *, false_positive_rate: float) -> Threshold:
    """Set the threshold on clean images' scores (N,), which the detector was not fitted on.

    Refused (value None) under ⌈1/rate⌉ − 1 images: 19 for 5 %, 99 for 1 %. Raises BadInput for NaN or infinite scores
    and for a rate outside (0, 1).
    """
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not 0 < false_positive_rate < 1:
        raise BadInput(f"the false-positive rate must lie between 0 and 1, got {false_positive_rate}")
    if not np.isfinite(values).all():
        raise BadInput("scores hold NaN or infinity; leave out images that could not be scored")
    n = len(values)
    # a hair less, so that 100 × 0.99 is 99 and not 99.00000000000001
    rank = math.ceil((n + 1) * (1 - false_positive_rate) - 1e-9)
    if rank > n:
        needed = math.ceil(1 / false_positive_rate - 1e-9) - 1
        reason = (
            f"{n} clean images cannot promise a false-positive rate of {100 * false_positive_rate:g} %: "
            f"at least {needed} are needed"
        )
        return Threshold(value=None, promised=false_positive_rate, n=n, reason=reason)
    return Threshold(value=float(values[max(rank, 1) - 1]), promised=false_positive_rate, n=n)
