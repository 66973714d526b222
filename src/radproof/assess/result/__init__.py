# SPDX-License-Identifier: Apache-2.0
"""What came out of an assessment. `result.json` is this record; the report is drawn from it and rows.parquet alone."""

from radproof.assess.result.cells import Cell, ClassScores, Column, Gain, Scores, Stratum, serious
from radproof.assess.result.certificates import Certificate, Certified, CertifiedAt
from radproof.assess.result.corruptions import CorruptionRow, CorruptionSummary
from radproof.assess.result.images import PairedCheck, Picture, Shortcut
from radproof.assess.result.judged import Component, GateVerdict, Score
from radproof.assess.result.reach import (
    Network,
    Smallest,
    Spending,
    Spent,
    Survival,
    Survived,
    Transfer,
    TransferCell,
    Treatment,
)
from radproof.assess.result.whole import SCHEMA_VERSION, Result, Timing

__all__ = [
    "SCHEMA_VERSION",
    "Cell",
    "Certificate",
    "Certified",
    "CertifiedAt",
    "ClassScores",
    "Column",
    "Component",
    "CorruptionRow",
    "CorruptionSummary",
    "Gain",
    "GateVerdict",
    "Network",
    "PairedCheck",
    "Picture",
    "Result",
    "Score",
    "Scores",
    "Shortcut",
    "Smallest",
    "Spending",
    "Spent",
    "Stratum",
    "Survival",
    "Survived",
    "Timing",
    "Transfer",
    "TransferCell",
    "Treatment",
    "serious",
]
