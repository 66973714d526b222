# SPDX-License-Identifier: Apache-2.0
"""The whole record: `result.json`."""

from typing import Any

from pydantic import Field

from radproof.assess.detected import Detection, Latency
from radproof.assess.result.cells import Cell, Gain
from radproof.assess.result.certificates import Certified
from radproof.assess.result.corruptions import CorruptionSummary
from radproof.assess.result.images import PairedCheck, Picture, Shortcut
from radproof.assess.result.judged import GateVerdict, Score
from radproof.assess.result.reach import Smallest, Spending, Survival, Transfer
from radproof.core.records import Doubt, Estimate, Record

SCHEMA_VERSION = 1


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
