# SPDX-License-Identifier: Apache-2.0
"""A forensic comparison of an archived image with a received copy. It is no detector: it needs the original.

The four rules are often proposed as attack detection. At run time nobody has the original; the label rule fires on
every successful attack by construction; 20 grey levels cannot be reached at a budget of 16/255; and where the original
is at hand, comparing a hash or a digital signature is strictly stronger. So it is offered for what it can do: say how
two copies of one image differ. Differences are taken in floating point: unsigned 8-bit subtraction wraps around
(3 − 5 = 254) unless widened to int16 first, and then the mean-difference rule fires on any slight darkening.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from radproof.core.types import Classifier
from radproof.defenses.checks import require_images
from radproof.detectors.common import answers_of, logits_of, probabilities_of
from radproof.errors import BadInput
from radproof.measure.images import mean_difference, ssim

LEAST_SSIM = 0.85
MOST_DROP = 0.15  # of confidence: 15 percentage points
MOST_DIFFERENCE = 20 / 255  # mean absolute, 20 grey levels


@dataclass(frozen=True)
class PairedFindings:
    """Which rules fired for each pair, (N,) bool each, on the CPU."""

    structure: Tensor  # SSIM under 0.85
    confidence: Tensor  # confidence in the original's answer fell by more than 15 percentage points
    difference: Tensor  # mean absolute difference over 20 grey levels
    label: Tensor  # the answer changed

    @property
    def flagged(self) -> Tensor:
        """(N,) bool: any of the four."""
        return self.flagged_without_label | self.label

    @property
    def flagged_without_label(self) -> Tensor:
        """(N,) bool: any of the first three, which do not fire on success by definition."""
        return self.structure | self.confidence | self.difference


def paired_check(original: Tensor, received: Tensor, model: Classifier) -> PairedFindings:
    """Compare received images (N, C, H, W) in [0, 1] with their archived originals, pair by pair.

    Sigmoid heads: the largest fall of confidence in any finding's answer, and any finding's change.
    Raises BadInput where the two differ in shape or are no images.
    """
    if original.shape != received.shape:
        raise BadInput(
            f"a paired check needs pairs of one shape, got {tuple(original.shape)} and {tuple(received.shape)}; "
            "compare stored grids, before any resize"
        )
    require_images(original)
    require_images(received)
    before, after = logits_of(model, original), logits_of(model, received)
    p, q = probabilities_of(before, model.head), probabilities_of(after, model.head)
    answer = answers_of(before, model.head)
    if model.head == "softmax":
        drop = (p - q).gather(1, answer).squeeze(1)
    else:  # confidence in "absent" is 1 − p
        drop = torch.where(answer, p - q, q - p).amax(1)
    with torch.no_grad():
        structure, difference = ssim(original, received).cpu(), mean_difference(original, received).cpu()
    return PairedFindings(
        structure=structure < LEAST_SSIM,
        confidence=drop > MOST_DROP,
        difference=difference > MOST_DIFFERENCE,
        label=(answers_of(after, model.head) != answer).any(1),
    )
