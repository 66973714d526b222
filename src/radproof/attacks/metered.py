# SPDX-License-Identifier: Apache-2.0
"""How an attack runs a model: in what precision, in what pieces, and at what cost.

These settings travel on the model, so no recipe carries them. Only gradients are ever taken in bfloat16; whether an
image fools the model is always judged in float32.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from radproof.attacks.objective import Objective
from radproof.core.device import gains_from_bfloat16
from radproof.core.types import Classifier, Goal, Head
from radproof.errors import BadPlan
from radproof.models.predict import Predictor

Precision = Literal["fp32", "bf16"]
AGREEMENT = 0.9  # least mean cosine between bfloat16 and float32 gradients for the former to be used


class Metered:
    """A classifier that counts images forward and backward, and may take gradients in bfloat16.

    With "bf16", passes whose gradient will be asked for run under autocast; all others are float32, and logits always
    come back in float32. Colour images are laid out channels-last, which saves a fifth of the time on CPUs in both
    precisions (grey images have one layout only; the classifier can choose another where it makes them three).
    """

    def __init__(self, model: Classifier, *, micro_batch: int | None = None, precision: Precision = "fp32") -> None:
        self.model = model
        self.precision: Precision = precision
        self.forwards = 0.0
        self.backwards = 0.0
        self._micro_batch = micro_batch

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's classes."""
        return self.model.labels

    @property
    def head(self) -> Head:
        """The model's head."""
        return self.model.head

    @property
    def micro_batch(self) -> int:
        """Images per pass: as given, else the model's own."""
        return self._micro_batch or self.model.micro_batch

    def reset(self) -> None:
        """Count from zero again."""
        self.forwards = self.backwards = 0.0

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, K) in float32 (float64 for float64 images)."""
        self.forwards += len(x)
        climbing = x.requires_grad and torch.is_grad_enabled()
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=climbing and self.precision == "bf16"):
            logits = self.model(x.contiguous(memory_format=torch.channels_last) if x.shape[1] > 1 else x)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if climbing and logits.requires_grad:
            images = len(x)
            logits.register_hook(lambda grad: self._count_backward(grad, images))
        return logits

    def _count_backward(self, grad: Tensor, images: int) -> None:
        self.backwards += images


def choose_precision(model: Classifier, x: Tensor, goal: Goal, wanted: str) -> Precision:
    """The precision to make adversarial images in: "fp32" or "bf16".

    "auto" takes bfloat16 where processor and network gain from it and, on these images, its input gradients have a
    mean cosine of at least 0.9 with those of float32. Nothing is timed, so equal machines choose equally.
    Raises BadPlan for any other word.
    """
    if wanted == "fp32" or wanted == "bf16":
        return wanted
    if wanted != "auto":
        raise BadPlan(f"precision must be one of auto, fp32, bf16; got {wanted!r}")
    if isinstance(model, Predictor) or not len(x) or not gains_from_bfloat16(x.device, model):
        return "fp32"
    plain, short = (Objective(Metered(model, precision=p), goal).gradient(x).flatten(1) for p in ("fp32", "bf16"))
    return "bf16" if float(_cosine(plain, short).mean()) >= AGREEMENT else "fp32"


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Row by row, whatever the scale: a confident model's gradients underflow when squared."""
    a, b = (v / v.abs().amax(1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny) for v in (a, b))
    return cosine_similarity(a, b, dim=1)
