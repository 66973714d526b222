# SPDX-License-Identifier: Apache-2.0
"""From scores to a yes or no with a promise: at most so many clean images are flagged.

Split conformal prediction: Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005. With n clean
scores the k-th smallest, k = ⌈(n + 1)(1 − rate)⌉, keeps the rate on average over draws of calibration and test images,
whatever the scores' distribution, as long as all are exchangeable. Another hospital or scanner is another source, and
then nothing is promised. Images of one patient are not independent of each other, so several of one patient count for
more than they tell: `one_per_patient` leaves one of each, and the promise is then made for patients.

The rate that one calibration set achieves varies about the promise: it follows Beta(n + 1 − k, k) where no two scores
are equal, and lies lower where some are (Vovk, "Conditional validity of inductive conformal predictors", ACML 2012).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radproof.core.records import Record
from radproof.core.rng import numpy_generator
from radproof.errors import BadInput

By = Literal["", "class", "view"]
CLEAN = "clean"


class Threshold(Record):
    """An image is flagged when its score is above `value`; None where too few images were given to promise anything."""

    value: float | None
    promised: float  # false-positive rate
    n: int  # clean images it was set on
    reason: str = ""  # why it was refused
    low: float | None = None  # the achieved rate lies between these for 95 of 100 calibration sets of this size
    high: float | None = None


class Thresholds(Record):
    """One threshold, or one for each answer of the model or each view (Mondrian)."""

    by: By = ""
    promised: float
    groups: dict[str, Threshold]  # under "" where there is one for all
    covers: tuple[str, ...] = (CLEAN,)  # the harmless changes that the promise is also made for

    def of(self, group: str = "") -> Threshold:
        """The threshold for an image of this group; refused for a group that calibration has not seen."""
        name = group if self.by else ""
        if name in self.groups:
            return self.groups[name]
        known = ", ".join(sorted(self.groups)) or "none"
        reason = f"no calibration image was of {self.by} {group!r}, so nothing is promised for it; there are: {known}"
        return Threshold(value=None, promised=self.promised, n=0, reason=reason)

    def flags(self, score: float, group: str = "") -> bool | None:
        """Whether the score is above its group's threshold; None where that was refused."""
        value = self.of(group).value
        return None if value is None else score > value


def calibrate(scores: ArrayLike, *, false_positive_rate: float) -> Threshold:
    """Set the threshold on clean images' scores (N,), which the detector was not fitted on.

    Refused (value None) under ⌈1/rate⌉ − 1 images: 19 for 5 %, 99 for 1 %. Raises BadInput for NaN or infinite scores
    and for a rate outside (0, 1).
    """
    values = np.sort(_finite(scores))
    if not 0 < false_positive_rate < 1:
        raise BadInput(f"the false-positive rate must lie between 0 and 1, got {false_positive_rate}")
    n = len(values)
    rank = _rank(n, false_positive_rate)
    if rank > n:
        needed = math.ceil(1 / false_positive_rate - 1e-9) - 1
        reason = (
            f"{n} clean images cannot promise a false-positive rate of {100 * false_positive_rate:g} %: "
            f"at least {needed} are needed"
        )
        return Threshold(value=None, promised=false_positive_rate, n=n, reason=reason)
    low, high = (_achieved(share, n, rank) for share in (0.025, 0.975))
    return Threshold(value=float(values[rank - 1]), promised=false_positive_rate, n=n, low=low, high=high)


def calibrate_groups(
    scores: Mapping[str, ArrayLike],
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    false_positive_rate: float,
    by: By = "",
    patients: Sequence[str] | None = None,
    seed: int = 0,
) -> Thresholds:
    """Set thresholds that keep the rate in every group, and for clean images as for each harmless change of them.

    `scores`: by change, "clean" first, those of the same N images in the same order. `groups`: by change, what each
    image is (the model may answer a changed image otherwise); needed where `by` is said. `patients`: of each image,
    "" where unknown; one image of each is then kept, drawn by `seed`.

    Within a group every change has a conformal threshold of its own, and the largest is taken: it is at least each of
    them, so fewer images are flagged of each change than its own threshold promises. Such a maximum has no exact
    interval: `low` is 0, and 95 of 100 calibration sets stay under `high` for any one change. A group is refused where
    any change has too few images of it. Raises BadInput for tables that do not go together.
    """
    table = {change: _finite(values) for change, values in scores.items()}
    named = _checked(table, groups, by)
    n = len(table[CLEAN])
    if patients is not None and len(patients) != n:
        raise BadInput(f"{len(patients)} patients were named for {n} images; name one for each")
    rows = np.arange(n) if patients is None else np.asarray(one_per_patient(patients, seed=seed), dtype=np.int64)
    found: dict[str, Threshold] = {}
    for group in sorted({str(name) for names in named.values() for name in names[rows]} or {""}):
        each = {change: values[rows][named[change][rows] == group] for change, values in table.items()}
        found[group] = _strictest(
            {change: calibrate(part, false_positive_rate=false_positive_rate) for change, part in each.items()}
        )
    return Thresholds(by=by, promised=false_positive_rate, groups=found, covers=tuple(table))


def one_per_patient(patients: Sequence[str], *, seed: int = 0) -> list[int]:
    """Rows of one image per patient, drawn by `seed`, in order; an image without a patient ("") is its own."""
    first: dict[str | int, int] = {}
    order = numpy_generator(seed, "one image per patient").permutation(np.arange(len(patients)))
    for row in map(int, order):
        first.setdefault(patients[row] or row, row)
    return sorted(first.values())


def _strictest(each: Mapping[str, Threshold]) -> Threshold:
    """The largest of the thresholds by change, or the first that was refused."""
    for change, one in each.items():
        if one.value is None:
            return one if change == CLEAN else one.model_copy(update={"reason": f"{one.reason} (of {change})"})
    largest = max(each.values(), key=lambda one: one.value or 0.0)
    if len(each) == 1:
        return largest
    fewest = min(one.n for one in each.values())
    high = max(_achieved(0.95, one.n, _rank(one.n, one.promised)) for one in each.values())
    return largest.model_copy(update={"n": fewest, "low": 0.0, "high": high})


def _rank(n: int, rate: float) -> int:
    # a hair less, so that 100 × 0.99 is 99 and not 99.00000000000001
    return max(1, math.ceil((n + 1) * (1 - rate) - 1e-9))


def _achieved(share: float, n: int, rank: int) -> float:
    """What the achieved rate stays under in this share of calibration sets."""
    from scipy.special import betaincinv

    return float(betaincinv(n + 1 - rank, rank, share))


def _checked(
    table: Mapping[str, NDArray[np.float64]], groups: Mapping[str, Sequence[str]] | None, by: By
) -> dict[str, NDArray[np.str_]]:
    """By change, each image's group; "" everywhere where there are none."""
    sizes = {change: len(values) for change, values in table.items()}
    if next(iter(table), None) != CLEAN or len(set(sizes.values())) != 1:
        raise BadInput(f"scores must be given for clean images first, then for the same images changed; got {sizes}")
    if (by == "") != (groups is None):
        raise BadInput(f"thresholds by {by!r} were asked for and groups were {'not ' if by else ''}given; give both")
    if groups is None:
        return {change: np.zeros(n, dtype=np.str_) for change, n in sizes.items()}
    if {change: len(groups[change]) for change in groups} != sizes:
        raise BadInput(f"groups must be named for the same changes and images as the scores, {sizes}")
    return {change: np.asarray([*groups[change]], dtype=np.str_) for change in sizes}


def _finite(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise BadInput("scores hold NaN or infinity; leave out images that could not be scored")
    return values
