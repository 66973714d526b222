# SPDX-License-Identifier: Apache-2.0
"""How the model, and what stands in its place, answered: one cell per attack, budget, goal and defence."""

from collections.abc import Sequence
from typing import Literal

from radproof.core.records import Doubt, Estimate, Record

Column = Literal["clean", "oblivious", "transfer", "adaptive", "headline", "corruption", "aware"]
"""oblivious: made against the bare model (white-box where no defence scores); transfer: made on a surrogate;
adaptive: made against the defended model; headline: the worst per image over all columns (attack "worst");
aware: made against the bare model and a detector together, and told with the detector."""


class ClassScores(Record):
    """Scores of one class, each with its interval."""

    label: str
    images: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auroc: Estimate


class Scores(Record):
    """How the model answered a set of images."""

    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_precision: Estimate
    macro_recall: Estimate
    macro_f1: Estimate
    macro_auroc: Estimate
    loss: Estimate
    ece: Estimate
    missed_findings: Estimate | None  # share of images with disease read as Normal
    false_alarms: Estimate | None  # share of normal images read as disease
    brier: Estimate | None = None  # squared distance from the truth: summed over classes, averaged over findings
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...] | None  # rows: truth, columns: answer; None for sigmoid heads


class Stratum(Record):
    """Attack success among images whose clean confidence lay in [low, high)."""

    low: float
    high: float
    success: Estimate


class Cell(Record):
    """One attack at one budget for one goal, against one defence, made on one model."""

    key: str
    column: Column
    attack: str  # "none" for clean images, "worst" for the per-image worst of a group, else sia, stm[acquisition], …
    goal: str  # "" for clean images and corruptions
    eps: float  # 0 for clean images
    budget: str  # "4/255"
    defense: str  # "none" or the defence that scored
    threat: str = "linf"  # what bounds the change: linf, l2 (budget: root mean square), l0, style, …, visible
    limits: str = ""  # of a threat without a budget, in words: "rotation up to 10°, shift up to 5 %"
    made_on: str  # "model", a surrogate's name, "jpeg_tvm (identity)", "jpeg_tvm (twin)"
    scores: Scores
    robust_accuracy: Estimate | None  # share right before and after, over all images in scope
    success: Estimate | None  # goal reached as stored, over images that were right before
    success_float: Estimate | None  # before rounding to the stored depth
    strata: tuple[Stratum, ...]
    confidence_drop: Estimate | None  # in the true class, in [0, 1]
    linf: Estimate | None  # stored, in [0, 1] pixel units; the largest allowed is eps
    l2: Estimate | None
    ssim: Estimate | None  # against the original; of clean cells: what the defence makes of the image
    psnr: Estimate | None  # decibels
    forwards: float  # per image
    backwards: float  # per image (gradients)


class Gain(Record):
    """What a contender changes against the bare model, paired image by image; both in [-1, 1]."""

    defense: str
    goal: str
    eps: float
    budget: str
    robust: Estimate  # share still right under the worst attack, less the bare model's
    clean: Estimate  # accuracy on clean images, less the bare model's


def serious(doubts: Sequence[Doubt], cell: Cell) -> tuple[Doubt, ...]:
    """The serious doubts about a cell, about everything that its contender answered (defense:NAME), or about all."""
    named = (cell.key, "all", f"defense:{cell.defense}")
    return tuple(doubt for doubt in doubts if doubt.severity == "serious" and doubt.about in named)
