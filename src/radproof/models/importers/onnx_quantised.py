# SPDX-License-Identifier: Apache-2.0
"""Quantised networks: the original answers, a graph between the integers stands in for gradients."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from radproof.models.imported import FAR

if TYPE_CHECKING:
    from onnx import ModelProto

_INTEGER = ("QLinear", "ConvInteger", "MatMulInteger", "QGemm", "DynamicQuantize", "QuantizeLinear", "DequantizeLinear")
QUANTISED = "the network is quantised: gradients come from a stand-in that does not round activations"
SAME, NEAR = 0.8, 0.9  # equal classes and correlation, below which a stand-in says little about the original


def is_quantised(model: "ModelProto") -> bool:
    """Whether a file rounds activations or weights to integers."""
    return any(node.op_type.startswith(_INTEGER) for node in model.graph.node)


@dataclass(frozen=True)
class Agreement:
    """How near the stand-in's logits come to the original's."""

    same: float  # share of equal classes; of equal signs where each answer stands alone
    near: float  # correlation of logits less each class's mean; 0 where only one of the two is constant
    images: int

    @property
    def far(self) -> bool:
        """Whether attacks on the stand-in say little about the original."""
        return self.same < SAME or self.near < NEAR

    def told(self, what: str, *, judged: bool) -> str:
        """In words; `what` are the images. What is judged and far says so in the words of `imported.FAR`."""
        said = (
            f"on {self.images} {what} the stand-in gives the same class for {self.same:.0%} and answers that correlate "
            f"by {self.near:.3f} with the original's"
        )
        return f"{said}: {FAR}" if judged and self.far else said


def agreement(exact: Tensor, stand_in: Tensor, *, one_each: bool) -> Agreement:
    """Compare logits (N, K); one_each: every answer is a yes or no of its own."""
    said = [(x > 0) if one_each or x.shape[1] == 1 else x.argmax(1) for x in (exact, stand_in)]
    same = said[0] == said[1]
    pair = torch.stack([(x - x.mean(0)).reshape(-1) for x in (exact.double(), stand_in.double())])
    flat = 1e-6 * max(1.0, float(exact.abs().max()))  # what rounding leaves of answers that are all the same
    if bool((pair.abs().amax(1) > flat).all()):
        near = float(torch.corrcoef(pair)[0, 1])
    else:
        near = float(torch.allclose(pair[0], pair[1], rtol=0, atol=flat))
    return Agreement(float(same.double().mean()), near, len(exact))
