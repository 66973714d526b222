# SPDX-License-Identifier: Apache-2.0
"""What is said of one screened image, in numbers, in one of four words, and in sentences."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from radproof.core.records import Record
from radproof.core.types import Classifier
from radproof.detectors.calibrate import Threshold
from radproof.detectors.common import probabilities_of
from radproof.errors import BadModel

Verdict = Literal["clear", "suspicious", "outside the model's data", "not established"]
NONE = "no finding"
_REASONS = 3


class Reading(Record):
    """One detector's score of one image."""

    detector: str
    score: float
    threshold: Threshold
    tail: float  # share of clean images scored as high or higher, itself counted in: 0.005 is the highest of 199
    clean: int  # images that the tail is counted among

    @property
    def flagged(self) -> bool | None:
        """Above the threshold; None where that was refused."""
        return None if self.threshold.value is None else self.score > self.threshold.value


class Answer(Record):
    """What the model says of one image."""

    prediction: tuple[str, ...]  # the class; or the findings that are there, perhaps none
    confidence: float  # calibrated: that of the class, of the surest finding, or that the likeliest is not there
    probabilities: dict[str, float]  # of every class or finding
    group: str  # the class, the likeliest finding or "no finding": what thresholds by class go by


class Screening(Answer):
    """What a guard says of one image."""

    verdict: Verdict
    reasons: tuple[str, ...]  # sentences; none where the image is clear
    suspicion: Reading  # whether it is attacked
    outside: Reading | None = None  # whether it is of the model's kind; None where the guard does not look


def answers(logits: Tensor, model: Classifier) -> list[Answer]:
    """Of logits (N, K). Raises BadModel where one is no number."""
    table = probabilities_of(logits.detach().cpu().double(), model.head)
    if not bool(table.isfinite().all()):
        raise BadModel("the model's answer holds NaN or infinity; repair the model, or leave those images out")
    return [_answer(dict(zip(model.labels, row, strict=True)), model) for row in table.tolist()]


def verdict_of(suspicion: Reading, outside: Reading | None) -> Verdict:
    """Outside wins: of an image unlike all others a detector of attacks has nothing to say."""
    if outside and outside.flagged:
        return "outside the model's data"
    if suspicion.flagged:
        return "suspicious"
    return "clear" if suspicion.flagged is False and not (outside and outside.flagged is None) else "not established"


def reasons_for(reading: Reading, measures: Mapping[str, float]) -> tuple[str, ...]:
    """Why an image was flagged: its place among clean ones and what lies farthest from the usual; or why it is open."""
    if reading.flagged is None:
        return (f"{_capital(reading.detector)} has no threshold: {reading.threshold.reason}.",)
    if not reading.flagged:
        return ()
    first = sorted(measures.items(), key=lambda item: -item[1])[:_REASONS]
    return (_place(reading), *(f"{_capital(name)}: {_spreads(value)} from the usual." for name, value in first))


def _answer(probabilities: dict[str, float], model: Classifier) -> Answer:
    top = max(probabilities, key=lambda name: probabilities[name])
    sure = probabilities[top]
    if model.head == "softmax":
        return Answer(prediction=(top,), confidence=sure, probabilities=probabilities, group=top)
    there = tuple(name for name, p in probabilities.items() if p > 0.5)
    confidence, group = (sure, top) if there else (1 - sure, NONE)
    return Answer(prediction=there, confidence=confidence, probabilities=probabilities, group=group)


def _place(reading: Reading) -> str:
    """Which share of clean images scores lower."""
    higher = round(reading.tail * (reading.clean + 1)) - 1
    share = f"all {reading.clean}" if not higher else f"{_percent(1 - higher / max(1, reading.clean))} of"
    return f"{_capital(reading.detector)}: more unusual than {share} clean images."


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _spreads(value: float) -> str:
    if value >= 100:
        return "more than 100 spreads"
    return f"{value:.0f} spreads" if value >= 10 else f"{value:.1f} spreads"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def finite(scores: Tensor) -> list[float]:
    """Scores (N,) as numbers. Raises BadModel where one is none."""
    if not bool(torch.isfinite(scores).all()):
        raise BadModel("an image's score is NaN or infinite; the detector or the model is broken, fit it again")
    return scores.double().cpu().tolist()
