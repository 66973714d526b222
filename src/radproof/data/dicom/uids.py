# SPDX-License-Identifier: Apache-2.0
"""Whose a written image says it is: a made-up patient and UIDs of its own, the same for the same input."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from radproof.data.inventory import secret_of

PATIENT = "RADPROOF^TEST"


@dataclass(frozen=True)
class Identity:
    """One study per patient, one series per attack and budget, one instance per image."""

    patient: str  # pseudonym, nothing of the original in it
    study: str
    series: str
    instance: str


def identity(root: str, patient: str, series: str, instance: str) -> Identity:
    """An identity from anything that tells these apart; only hashes of the arguments are in it.

    `root` sets one export apart from another: with another root nothing links the two. Whoever knows it and what tells
    the patients apart finds the same identity again.
    """
    return Identity(
        patient=f"RADPROOF-{_hash(root, 'patient', patient).hex()[:12].upper()}",
        study=uid(root, "study", patient),
        series=uid(root, "series", patient, series),
        instance=uid(root, "instance", patient, series, instance),
    )


def root_of(original: Path) -> str:
    """A root out of the bytes of a file that came in: the same for the same file, and to be had from no manifest."""
    return secret_of(original, "identities").hex()


def uid(*parts: str) -> str:
    """A DICOM UID below 2.25 (a UUID in decimal digits), the same for the same parts."""
    return f"2.25.{uuid.UUID(bytes=_hash(*parts)[:16], version=5).int}"


def _hash(*parts: str) -> bytes:
    return hashlib.sha256(json.dumps(("radproof", *parts)).encode()).digest()
