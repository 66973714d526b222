# SPDX-License-Identifier: Apache-2.0
"""Reasons not to believe a number, each found by a check and told with its figures.

After Carlini et al., "On Evaluating Adversarial Robustness" (arXiv:1902.06705) and Tramèr et al. (arXiv:2002.08347).
"""

from collections.abc import Iterator, Sequence

from radproof.assess.doubts_attack import attack_doubts
from radproof.assess.doubts_detection import detection_doubts
from radproof.assess.doubts_origin import origin_doubts
from radproof.assess.doubts_probes import probe_doubts
from radproof.assess.evidence import FEW_PATIENTS, Evidence, clean_cell, show
from radproof.assess.result import Cell
from radproof.core.records import Doubt

__all__ = ["SHORTCUTS", "Evidence", "doubts", "show"]

SHORTCUTS = {
    "thumbnail": "a histogram with an 8×8 thumbnail",
    "view": "the view position",
    "age_sex": "age and sex",
    "file_size": "the file size",
}


def doubts(evidence: Evidence) -> tuple[Doubt, ...]:
    """Every doubt, in a stable order."""
    return tuple(
        doubt
        for check in (
            _preflight,
            origin_doubts,
            _leakage,
            _chosen,
            _shortcut,
            _few,
            probe_doubts,
            attack_doubts,
            _rounding,
            detection_doubts,
            _memory,
        )
        for doubt in check(evidence)
    )


def _preflight(e: Evidence) -> Iterator[Doubt]:
    yield from e.preflight


def _leakage(e: Evidence) -> Iterator[Doubt]:
    spoils = {
        "patients lie in more than one fold": e.audit.shared_patients,
        "films lie in more than one fold": e.audit.across,
        "augmented images lie outside the training fold": e.audit.augmented_outside_training,
        "files are unreadable": e.audit.unreadable,
        "files changed since they were imported": e.audit.changed,
    }
    for what, found in spoils.items():
        if found:
            yield Doubt(kind="leakage", about="all", message=f"the audit of the data: {len(found)} {what}")
    trained_on = e.material.card.data_fingerprint
    if trained_on != e.material.manifest.fingerprint():
        yield Doubt(
            kind="training-data-not-verifiable",
            about="all",
            message="the model's card does not name this data set with these folds, so it cannot be ruled out that "
            "test patients were trained on",
            severity="note",
        )
    by_series = e.material.manifest.source.get("patients") == "series"
    if by_series or any(not sample.patient for sample in e.material.test.samples):
        yield Doubt(
            kind="leakage-not-verifiable",
            about="all",
            message=(
                "the data set names series but not all patients" if by_series else "the data set names no patients"
            )
            + ", so images of one patient may lie in training and test",
        )


def _chosen(e: Evidence) -> Iterator[Doubt]:
    """Epochs, temperatures and denoisers are chosen by validation images: figures on these flatter what was trained."""
    plan = e.material.plan
    if plan.data.fold != "validation":
        return
    networks = (plan.model, *plan.hardened.values())
    here = any(n.train is not None or getattr(n, "denoiser", None) is not None for n in networks)
    yield Doubt(
        kind="chosen-on-these-images",
        about="all",
        message="the images are validation images"
        + (", by which this run chose the epochs of what it trained" if here else "")
        + ": good for choosing parameters, not for a claim",
        severity="serious" if here else "note",
    )


def _shortcut(e: Evidence) -> Iterator[Doubt]:
    clean = clean_cell(e.cells)
    auroc = clean.scores.macro_auroc
    if auroc.low is None:
        return
    # The best first: it is the one to clear.
    rivals = sorted((s for s in e.shortcuts if s.auroc.value is not None), key=lambda s: -(s.auroc.value or 0))
    reached = [f"{SHORTCUTS[s.name]} ({show(s.auroc, 2)})" for s in rivals if auroc.low <= (s.auroc.value or 0)]
    if reached:
        yield Doubt(
            kind="shortcut",
            about=clean.key,
            message=f"the network's AUROC {show(auroc, 2)} does not clear what can be told without a look at "
            f"what they show, from {', '.join(reached)}",
        )


def _few(e: Evidence) -> Iterator[Doubt]:
    for scores in clean_cell(e.cells).scores.per_class:
        patients = scores.recall.patients or 0
        if patients < FEW_PATIENTS:
            yield Doubt(
                kind="few-images",
                about=f"class:{scores.label}",
                message=f"{scores.label} has {scores.images} images of {patients} patients: no claim about it alone",
                severity="note",
            )
    patients = clean_cell(e.cells).scores.accuracy.patients or 0
    if patients < FEW_PATIENTS:
        yield Doubt(kind="few-images", about="all", message=f"only {patients} patients were assessed")
        return
    for cell in _told(e.cells):
        if cell.success is not None and cell.success.n < FEW_PATIENTS:
            who = "the bare model" if cell.defense == "none" else cell.defense
            yield Doubt(
                kind="few-images",
                about=f"defense:{cell.defense}",
                message=f"{who} answered {cell.success.n} images rightly before any attack: too few for a claim about "
                "what it withstands",
            )


def _told(cells: Sequence[Cell]) -> Iterator[Cell]:
    """One headline figure of everything that answers: of the first goal, at any budget."""
    headline = [cell for cell in cells if cell.column == "headline"]
    for defense in dict.fromkeys(cell.defense for cell in headline):
        yield next(cell for cell in headline if cell.defense == defense)


def _rounding(e: Evidence) -> Iterator[Doubt]:
    for cell in e.cells:
        loose, kept = cell.success_float, cell.success
        if loose and kept and loose.value is not None and kept.value is not None and loose.value - kept.value > 0.05:
            yield Doubt(
                kind="lost-in-rounding",
                about=cell.key,
                message=f"{cell.attack} at {cell.budget} succeeds on {show(loose)} before and {show(kept)} after "
                "rounding to the stored depth; the stored figure counts",
                severity="note",
            )


def _memory(e: Evidence) -> Iterator[Doubt]:
    if e.halvings:
        yield Doubt(
            kind="out-of-memory",
            about="all",
            message=f"memory ran out: some batches were computed in pieces {2**e.halvings} times smaller than planned, "
            "so another machine may give other bytes",
            severity="note",
        )
