# SPDX-License-Identifier: Apache-2.0
"""Data sets: taken and audited."""

from pathlib import Path
from typing import Any

from radproof.assess.baselines import shortcuts
from radproof.assess.received import Received
from radproof.assess.receiving import receive as receive_data
from radproof.assess.result import Shortcut
from radproof.core.progress import SILENT, Progress
from radproof.data.audit import Audit
from radproof.data.audit import audit as audit_manifest
from radproof.data.manifest import Manifest
from radproof.measure.intervals import Resampler


def take_data(archive: Path, out: Path, *, progress: Progress = SILENT, **how: Any) -> Received:
    """Import a stranger's zip archive into `out`: PNG files and a manifest, nothing of the originals, and an audit.

    `how`: labels, classes, multi_label, label_tag, strict (else 5 % of the files may be unreadable). What it says names
    no file. Nothing is left of what cannot be used.
    """
    return receive_data(archive, out, progress=progress, **how)


def audit(manifest: Manifest, *, progress: Progress = SILENT) -> tuple[Audit, tuple[Shortcut, ...]]:
    """What is wrong with a data set, and what shortcuts it offers from its training to its test fold."""
    found = audit_manifest(manifest, progress=progress)
    test = manifest.only(sample for sample in manifest.samples if sample.fold == "test")
    if found.unreadable or not len(test):
        return found, ()
    return found, shortcuts(manifest, test, Resampler([sample.patient for sample in test.samples]))
