# SPDX-License-Identifier: Apache-2.0
"""The use cases as functions: what the command line does, a script can do."""

from radproof.app.assessing import assess, report
from radproof.app.attacking import attack
from radproof.app.certifying import CERTIFICATES, certify
from radproof.app.datasets import audit, take_data
from radproof.app.defending import defend
from radproof.app.detecting import detect, guard, screen
from radproof.app.gating import compare, gate
from radproof.app.models import check_model, convert, describe, take_model
from radproof.app.training import train
from radproof.app.tuning import tune
from radproof.assess.in_use import open_path
from radproof.data.kinds import kind_of

__all__ = [
    "CERTIFICATES",
    "assess",
    "attack",
    "audit",
    "certify",
    "check_model",
    "compare",
    "convert",
    "defend",
    "describe",
    "detect",
    "gate",
    "guard",
    "kind_of",
    "open_path",
    "report",
    "screen",
    "take_data",
    "take_model",
    "train",
    "tune",
]
