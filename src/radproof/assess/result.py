# SPDX-License-Identifier: Apache-2.0
"""What came out of an assessment. `result.json` is this record; the report is drawn from it and rows.parquet alone."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from radproof.assess.detected import Detection, Latency
from radproof.assess.grades import Grade
from radproof.core.records import Doubt, Estimate, Record

SCHEMA_VERSION = 1
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


class Network(Record):
    """One network of the transfer matrix."""

    name: str  # "model", or a surrogate's name in the plan
    architecture: str  # "densenet121"; of an ensemble its members' names, with plus signs
    accuracy: Estimate | None  # clean; None for an ensemble, which is a source only


class TransferCell(Record):
    """How often images made on one network fool another, over images that every network answers right."""

    source: str
    target: str
    attack: str
    goal: str
    eps: float
    budget: str
    success: Estimate


class Transfer(Record):
    """The transfer matrix: every source by every target; on the diagonal white-box."""

    networks: tuple[Network, ...]  # the model first
    images: int  # answered right by every network
    cells: tuple[TransferCell, ...]


class Spent(Record):
    """One attack, with its parameters scaled so that it costs about so many gradients (or queries)."""

    attack: str
    made_on: str  # "model", or the surrogate from which the images are carried over to the model
    params: dict[str, Any]  # those that were scaled
    forwards: float  # per image
    backwards: float
    success: Estimate


class Spending(Record):
    """Success against gradients spent, all attacks at equal cost."""

    goal: str
    eps: float
    budget: str
    images: int
    points: tuple[Spent, ...]


class Treatment(Record):
    """Something that happens to an image between the archive and the reader."""

    name: str  # "jpeg-75"
    title: str  # "JPEG, quality 75"
    clean_accuracy: Estimate  # of the model on clean images that went the same way


class Survived(Record):
    """Share of the images that fooled the model as stored which still fool it after a treatment."""

    attack: str
    goal: str
    eps: float
    budget: str
    treatment: str
    success: Estimate  # n: images that fooled the model as stored


class Survival(Record):
    """Whether adversarial images outlive what an archive does to them."""

    treatments: tuple[Treatment, ...]
    rows: tuple[Survived, ...]


class Smallest(Record):
    """The smallest budget that fools each image, found by white-box search."""

    attack: str
    images: int
    median_float: Estimate  # in [0, 1] pixel units
    median_stored: Estimate
    float_budgets: tuple[float | None, ...]  # per image; None: not fooled at the largest budget tried
    stored_budgets: tuple[float | None, ...]
    most: float


class PairedCheck(Record):
    """The forensic rule, which needs the original; never a detector."""

    attack: str
    budget: str
    flagged: Estimate
    flagged_without_label_rule: Estimate


class Shortcut(Record):
    """What something other than the anatomy can predict."""

    name: str  # "thumbnail", "view", "age_sex", "file_size"
    auroc: Estimate
    accuracy: Estimate


class Picture(Record):
    """One row of the gallery; images are files of the run's images folder or data of figures.npz."""

    sample: str
    truth: str
    attack: str
    budget: str
    clean_answer: str
    clean_confidence: float
    attacked_answer: str
    attacked_confidence: float
    defended_answer: str | None
    defended_confidence: float | None
    defense: str | None
    files: dict[str, str]  # original, attacked, defended, difference, cam_before, cam_after -> path within the run


class CertifiedAt(Record):
    """One point of the curve of certified accuracy."""

    radius: float  # L2, in [0, 1] pixel units
    accuracy: Estimate  # answered rightly, and proved to stay so up to this radius; abstentions count as wrong


class Certificate(Record):
    """What randomised smoothing proved of one image."""

    sample: str
    truth: str
    selected: str  # most frequent among the selection draws
    hits: int  # estimation draws with that answer
    p_low: float  # lower bound of its probability
    answer: str | None  # the certified class; None: abstained
    radius: float  # L2, in [0, 1] pixel units; 0 where it abstained
    predicted: str | None  # what the smoothed network answers; None: abstained


class Certified(Record):
    """Randomised smoothing of one network."""

    network: str  # "model", or a hardened network's name
    sigma: float  # of the noise, in [0, 1] pixel units
    n0: int  # draws that select a class
    n: int  # draws that estimate its probability
    alpha: float  # chance that one certificate is wrong
    cap: float  # the largest radius that so many draws can prove
    values: int  # pixel values of an image (of the largest)
    images: int
    plain: Estimate  # accuracy of the network itself, without noise
    accuracy: Estimate  # of the smoothed network; abstentions count as wrong
    abstained: Estimate  # share of images without a certificate
    curve: tuple[CertifiedAt, ...]
    average_radius: Estimate  # wrong and abstained images count 0
    certificates: tuple[Certificate, ...]


class GateVerdict(Record):
    """One promise of the plan's `gate:`, judged at the bound of the figure's interval."""

    sentence: str
    metric: str  # robust_accuracy, attack_success, …, doubts, not_worse
    verdict: Literal["passed", "failed", "not established"]
    figure: Estimate | None
    about: str  # the cell, detector or run that the figure is of
    message: str  # one sentence with the figures, and with the doubt where one stands


class CorruptionRow(Record):
    """One graded corruption at one severity."""

    corruption: str  # "rotation", "blur[motion]"
    severity: int  # 1 to 5
    accuracy: Estimate
    ssim: Estimate | None


class CorruptionSummary(Record):
    """What one contender makes of the graded corruptions; every corruption counts alike, however many its grades."""

    defense: str  # "none" or the contender
    clean: Estimate  # share answered rightly without corruption
    rows: tuple[CorruptionRow, ...]
    accuracy: Estimate  # mean over the corruptions of their mean over severities
    error: Estimate  # mean corruption error: one less the accuracy
    kept: Estimate  # accuracy as a share of the clean one
    relative_error: Estimate | None  # errors as a share of the reference's, mean over corruptions (mCE)
    reference: str  # "none": the bare model; "" where there is none


class Component(Record):
    """One figure of a score."""

    name: str  # of grades.BARS
    at: str  # what it is of: "4/255", "clean images"
    estimate: Estimate | None
    bound: float | None  # the pessimistic end of the interval
    grade: Grade | None
    reason: str  # why there is no figure or no grade; "" otherwise


class Score(Record):
    """The vector of one contender, and a grade where enough of it was measured."""

    contender: str  # "none" or the defence
    components: tuple[Component, ...]
    failed: tuple[str, ...]  # kinds of serious doubts that concern it
    grade: Grade | None
    reason: str  # what the grade rests on, or why there is none


def serious(doubts: Sequence[Doubt], cell: Cell) -> tuple[Doubt, ...]:
    """The serious doubts about a cell, about everything that its contender answered (defense:NAME), or about all."""
    named = (cell.key, "all", f"defense:{cell.defense}")
    return tuple(doubt for doubt in doubts if doubt.severity == "serious" and doubt.about in named)


class Timing(Record):
    """Seconds: the one part of a result that differs between equal runs."""

    started: str
    seconds: float
    cells: dict[str, float]  # cell key -> seconds per image
    memory: dict[str, float] = Field(default_factory=dict[str, float])  # cell key -> peak MiB that a batch added
    stages: dict[str, float]
    detectors: dict[str, Latency] = Field(default_factory=dict[str, Latency])


class Result(Record):
    """Everything that a report says."""

    schema_version: int = SCHEMA_VERSION
    name: str
    title: str
    verdict: str
    phantom: bool  # drawn images: every page says so
    labels: tuple[str, ...]
    head: str
    images: int
    patients: int
    resolution: str  # "320×320, 8 bit" or "28×28 in colour, 8 bit": the stored grid
    preset: str
    data: dict[str, Any]  # kind, counts per class and fold, left out
    model: dict[str, Any]  # the card
    training: dict[str, Any] | None  # history per epoch, if the run trained the model
    audit: dict[str, Any]  # findings of the data audit
    cells: tuple[Cell, ...]
    gains: tuple[Gain, ...] = ()
    smallest: Smallest | None
    transfer: Transfer | None = None
    spending: Spending | None = None
    survival: Survival | None = None
    certified: Certified | None = None
    gates: tuple[GateVerdict, ...] = ()
    corruptions: tuple[CorruptionSummary, ...] = ()
    score: tuple[Score, ...] = ()
    detection: tuple[Detection, ...]
    paired: tuple[PairedCheck, ...]
    shortcuts: tuple[Shortcut, ...]
    by_view: dict[str, Estimate]  # clean accuracy per view, and "balanced"
    gallery: tuple[Picture, ...]
    doubts: tuple[Doubt, ...]
    plan: dict[str, Any]
    provenance: dict[str, Any]  # versions, device, threads, plan digest, model and data fingerprints
    timing: Timing
