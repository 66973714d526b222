# SPDX-License-Identifier: Apache-2.0
"""Can an autoencoder that clean images taught rebuild this one, and what does the model say of the rebuilt one.

Meng & Chen, "MagNet: A Two-Pronged Defense against Adversarial Examples", CCS 2017: the reconstruction error of an
autoencoder, and the Jensen-Shannon divergence between the model's answers to the image and to its reconstruction,
softened by temperatures of 10 and 40. The error of the quietest and the loudest blocks is looked at as well: in quiet
ones a perturbation has nowhere to hide. One more pass of the model for every image.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from radproof.core.types import Head
from radproof.detectors.autoencoder import Autoencoder, Teaching, teach
from radproof.detectors.channels import require_channels
from radproof.detectors.kin import folds, kin
from radproof.detectors.look import Look, images_of
from radproof.detectors.registry import detector
from radproof.detectors.usual import Usual
from radproof.errors import BadInput
from radproof.models.layers import see

WORDS = (
    "the mean error of the reconstruction",
    "the root mean square error of the reconstruction",
    "the error in quiet parts",
    "the error in busy parts",
    "the answer's change on the reconstruction (temperature 10)",
    "the answer's change on the reconstruction (temperature 40)",
)
_BLOCK = 8
_QUIET, _BUSY = 0.1, 0.95  # quantiles over blocks
_TEMPERATURES = (10.0, 40.0)
_FLOOR = 0.02  # grey levels: errors below are alike
_ALIKE = 0.03  # logits that differ by less are alike
_HELD_OUT = 3  # every third image and its copies are kept from the autoencoder, and tell what is usual
_THINNEST = 0.02  # of all axes: the two temperatures tell nearly the same, and rounding must not be judged
_RATE = 3e-3


@dataclass(frozen=True)
class ReconstructionJudge:
    """Scores by how unusual error and divergence are together. Implements registry.Judge."""

    autoencoder: Autoencoder
    usual: Usual
    channels: int

    def __call__(self, look: Look) -> Tensor:
        """Both sides count: an image that is rebuilt too well is no clean one either."""
        return self.usual(self._columns(look))

    def measures(self, look: Look) -> dict[str, Tensor]:
        """Each measurement by itself."""
        return dict(zip(WORDS, self.usual.each(self._columns(look)).unbind(1), strict=True))

    def state(self) -> dict[str, Tensor]:
        """The weights, what is usual, and the number of channels."""
        return self.autoencoder.state() | self.usual.state("usual.") | {"channels": torch.tensor([self.channels])}

    def _columns(self, look: Look) -> Tensor:
        require_channels(look.x, self.channels, "reconstruction")
        return columns(self.autoencoder, look)


@dataclass(frozen=True)
class Reconstruction:
    """Teaches an autoencoder, then learns what is usual on images that it has not seen. Implements registry.Learner."""

    teaching: Teaching

    def learn(self, pieces: Sequence[Look]) -> ReconstructionJudge:
        """From clean images; no labels, no attack."""
        images = images_of(pieces)
        kept = folds(kin(pieces), _HELD_OUT) == 0
        autoencoder = teach(images[(~kept).to(images.device)].float().cpu(), self.teaching)
        parts = kept.split([len(piece) for piece in pieces])
        rest = [piece.only(part.nonzero().flatten()) for piece, part in zip(pieces, parts, strict=True) if part.any()]
        table = [columns(autoencoder, piece) for piece in rest]
        usual = Usual.of(torch.cat(table))
        usual = replace(usual, spread=usual.spread.clamp_min(_THINNEST))
        return ReconstructionJudge(autoencoder, usual, images.shape[1])

    def restore(self, state: Mapping[str, Tensor]) -> ReconstructionJudge:
        """Read back what `state` gave."""
        weights = {name: tensor for name, tensor in state.items() if name.startswith(("weight.", "bias."))}
        usual = Usual.restored(state, "usual.")
        if len(usual.mean) != len(WORDS) or "channels" not in state:
            raise BadInput(
                f"the stored detector has {len(usual.mean)} measurements, a reconstruction detector {len(WORDS)}; "
                "it was written by another version or detector, fit this one again"
            )
        return ReconstructionJudge(Autoencoder.restored(weights), usual, int(state["channels"]))


def columns(autoencoder: Autoencoder, look: Look) -> Tensor:
    """(N, 6) float64, in the order of WORDS: logs of errors in grey levels, and of divergences."""
    with torch.set_grad_enabled(look.soft):
        rebuilt = autoencoder(look.x).clamp(0, 1)
        logits = look.seen().logits.double(), see(look.model, rebuilt).logits.double()
        error = (look.x - rebuilt).abs() * 255
        blocks = F.avg_pool2d(error.mean(1, keepdim=True), _BLOCK).flatten(1).double()
        found = [
            (error.mean((1, 2, 3)).double() + _FLOOR).log(),
            (error.square().mean((1, 2, 3)).double() + _FLOOR**2).log() / 2,
            (blocks.quantile(_QUIET, dim=1) + _FLOOR).log(),
            (blocks.quantile(_BUSY, dim=1) + _FLOOR).log(),
            *((divergence(*logits, look.head, t) + (_ALIKE / t) ** 2 / 8).log() for t in _TEMPERATURES),
        ]
        return torch.stack(found, 1)


def divergence(logits: Tensor, others: Tensor, head: Head, temperature: float) -> Tensor:
    """(N,): Jensen-Shannon divergence, in nats, of answers softened by a temperature; the mean over findings."""
    if head == "softmax":
        return _jensen_shannon((logits / temperature).log_softmax(1), (others / temperature).log_softmax(1))
    p, q = (torch.stack([F.logsigmoid(z / temperature), F.logsigmoid(-z / temperature)], 1) for z in (logits, others))
    return _jensen_shannon(p, q).mean(1)


def _jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Of log-probabilities along dimension 1."""
    middle = torch.logaddexp(p, q) - math.log(2)
    return ((p.exp() * (p - middle)).sum(1) + (q.exp() * (q - middle)).sum(1)) / 2


@detector(title="Autoencoder reconstruction", paper="Meng & Chen, CCS 2017")
def reconstruction(
    width: Annotated[int, Field(ge=2, le=64, description="Channels inside the autoencoder.")] = 12,
    steps: Annotated[int, Field(ge=1, le=20_000, description="Gradient steps it is taught for.")] = 250,
    crop: Annotated[
        int, Field(ge=16, le=512, description="Side of the random squares it learns from, in pixels.")
    ] = 64,
    batch: Annotated[int, Field(ge=1, le=256, description="Squares per step.")] = 24,
    seed: Annotated[int, Field(ge=0, description="Of its first weights and of the squares.")] = 0,
) -> Reconstruction:
    """Error of an autoencoder taught on clean images, and how far the model's answer to the rebuilt image differs."""
    return Reconstruction(Teaching(width, steps, crop, batch, _RATE, seed))
