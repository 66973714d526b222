# SPDX-License-Identifier: Apache-2.0
"""What an assessment tells of its detectors: part of the result."""

from typing import Literal

from radproof.core.records import Estimate, Record


class DetectionRow(Record):
    """How one detector did against one attack at one budget; of an aware attack, made against this very detector."""

    detector: str
    attack: str  # "pgd", "evasion", "smallest": each image at its own smallest fooling budget
    budget: str  # "" for "smallest"
    eps: float
    positives: str  # "successful" or "all"
    auroc: Estimate
    detected: Estimate  # share of the positives flagged at the calibrated threshold
    undetected_success: Estimate  # share of images that were right which fooled the model and were not flagged
    roc: tuple[tuple[float, float], ...]  # (false-positive rate, true-positive rate)
    kind: Literal["attack", "aware", "smallest"] = "attack"
    success: Estimate | None = None  # share of images that were right which fooled the model, flagged or not
    at_5: Estimate | None = None  # share of the positives flagged at a promised rate of 5 %; None: refused
    at_1: Estimate | None = None  # the same for 1 %


class BenignRow(Record):
    """What a detector says of clean images after a harmless change."""

    change: str  # "jpeg-90"
    title: str  # "JPEG, quality 90"
    flagged: Estimate
    accuracy: Estimate  # of the model on the same images: a change that it does not bear is not harmless to it


class LearnedRow(Record):
    """A detector trained with some attacks, judged on one that it has not seen."""

    trained_with: tuple[str, ...]
    attack: str
    budget: str
    auroc: Estimate
    detected: Estimate  # at the promised rate
    achieved: Estimate | None = None  # its false alarms on clean test images; None: not measured
    reason: str = ""  # why there is no threshold, and so no figure


class Latency(Record):
    """What judging one image costs, measured on the run's own machine; differs between equal runs."""

    forwards: float  # passes through the model
    milliseconds: float  # all of it, one image at a time
    model_milliseconds: float  # one pass of the model


class Detection(Record):
    """One detector: its promise and what it kept."""

    detector: str
    threshold: float | None  # None: refused, too few calibration images
    promised_rate: float
    calibration_images: int
    achieved_rate: Estimate  # on clean test images
    rows: tuple[DetectionRow, ...]
    likely_low: float | None = None  # where the achieved rate lies for 95 of 100 calibration sets of this size
    likely_high: float | None = None
    by: str = ""  # "class" or "view" where each has a threshold of its own
    refused: tuple[str, ...] = ()  # of thresholds by class or view, those that too few images carry; nothing is flagged
    covers: tuple[str, ...] = ("clean",)  # the harmless changes that the promise was also made for
    benign: tuple[BenignRow, ...] = ()
    learned: tuple[LearnedRow, ...] = ()
