# SPDX-License-Identifier: Apache-2.0
"""An honest answer holds, within limits, when one looks a little differently, and is one that honest images get.

Feature squeezing (Xu et al., NDSS 2018) asks for the largest L1 change of the probabilities and takes a large one for
an attack. But an attacked answer is as often too steady and too sure, so both sides count here, and the answer itself
is judged along with its changes. Changes are averaged over squeezers before they are judged: an image that has been
through JPEG already hardly changes when it goes through again, and must not be suspected of that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radproof.core.types import Head
from radproof.detectors.common import answers_of, probabilities_of
from radproof.detectors.look import Look
from radproof.detectors.registry import Learner, detector
from radproof.detectors.squeezers import WORDS
from radproof.detectors.usual import Usual
from radproof.errors import BadInput

# What is no change, in probabilities, in logits, of the share of views: logarithms must not tell 0 from nearly 0.
_P, _LOGIT, _SHARE = 0.02, 0.1, 0.01
_SOFTNESS = 0.5  # logits over which a view goes from not flipping the answer to flipping it
_ABOUT = (
    "how much the probabilities change under squeezing",
    "how much the scores change under squeezing",
    "share of squeezed views with another answer",
    "margin of the answer over the next",
    "the highest score of any class",
)


@dataclass(frozen=True)
class ConsistencyJudge:
    """What is usual of the answers, which is the score, and of their change under each squeezer, which explains it."""

    answers: Usual
    changes: Usual

    def __call__(self, look: Look) -> Tensor:
        """How unusual the answer and its changes are together."""
        return self.answers(answers(look))

    def measures(self, look: Look) -> dict[str, Tensor]:
        """The change under each squeezer, and what the score is made of."""
        words = (
            *(f"how the answer changes under {word}" for word in WORDS.values()),
            *_ABOUT,
            *(f"the score of {label}" for label in look.model.labels),
        )
        spreads = torch.cat([self.changes.each(changes(look)), self.answers.each(answers(look))], dim=1)
        return dict(zip(words, spreads.unbind(1), strict=True))

    def state(self) -> dict[str, Tensor]:
        """Both usuals."""
        return self.answers.state("answers.") | self.changes.state("changes.")


@dataclass(frozen=True)
class Consistency:
    """Seven passes through the model per image, no training. Implements registry.Learner."""

    def learn(self, pieces: Sequence[Look]) -> ConsistencyJudge:
        """From clean images."""
        return ConsistencyJudge(
            *(Usual.of(torch.cat([table(p).cpu() for p in pieces])) for table in (answers, changes))
        )

    def restore(self, state: Mapping[str, Tensor]) -> ConsistencyJudge:
        """Raises BadInput where another detector, or one with other squeezers, was stored."""
        usual = Usual.restored(state, "answers."), Usual.restored(state, "changes.")
        answered, changed = (len(one.mean) for one in usual)
        if changed != len(WORDS) or answered <= len(_ABOUT):
            raise BadInput(
                f"the stored detector has {answered} and {changed} measurements, expected more than {len(_ABOUT)} and "
                f"{len(WORDS)}; it was written by another version or detector, fit this one again"
            )
        return ConsistencyJudge(*usual)


def answers(look: Look) -> Tensor:
    """(N, 5 + K) float64: log mean L1 changes of probabilities and logits, log share of flips, margin, top, logits."""
    before, views = _logits(look, ""), [_logits(look, name) for name in WORDS]
    head, p, answer = look.head, probabilities_of(before, look.head), answers_of(before, look.head)
    moved = _mean([(probabilities_of(after, head) - p).abs().sum(1) for after in views])
    flipped = _mean([(-margin(after, answer, head) / _SOFTNESS).sigmoid() for after in views])
    columns = (
        (moved + _P).log(),
        (_mean([(after - before).abs().sum(1) for after in views]) + _LOGIT).log(),
        (flipped + _SHARE).log(),
        margin(before, answer, head),
        before.amax(1),
    )
    return torch.cat([torch.stack(columns, dim=1), before], dim=1)


def changes(look: Look) -> Tensor:
    """(N, S) float64: log L1 change of the logits under each squeezer."""
    before = _logits(look, "")
    return torch.stack([((_logits(look, name) - before).abs().sum(1) + _LOGIT).log() for name in WORDS], dim=1)


def margin(logits: Tensor, answer: Tensor, head: Head) -> Tensor:
    """(N,) logits by which an answer, as `answers_of` gives it, holds; below 0 where it does not.

    Softmax: the class over the best other one. Sigmoid: the finding that is nearest to turning over.
    """
    if head == "softmax":
        return logits.gather(1, answer)[:, 0] - logits.scatter(1, answer, -torch.inf).amax(1)
    return torch.where(answer, logits, -logits).amin(1)


def _logits(look: Look, squeezer: str) -> Tensor:
    return look.seen(squeezer).logits.double()


def _mean(views: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(views)).mean(0)


@detector(title="Consistency under squeezing", paper="Xu, Evans & Qi, NDSS 2018")
def consistency() -> Learner:
    """How unusual the model's answer is, and its change under six harmless views of the image, among clean images'."""
    return Consistency()
