# SPDX-License-Identifier: Apache-2.0
"""Reasons not to believe what a detector seems to promise or to catch."""

from collections.abc import Callable, Iterable, Iterator

from radproof.assess.detected import BenignRow, Detection, DetectionRow
from radproof.assess.evidence import Evidence, clean_cell, exceeds, show
from radproof.core.records import Doubt, Estimate

FEW_IMAGES = 20  # that fooled the model: fewer say little of the share flagged
LOOSE = 2.0  # times the promised rate may come out by the luck of so few calibration images


def detection_doubts(e: Evidence) -> Iterator[Doubt]:
    """Detector by detector: its promise, harmless changes, who attacked it, and how many images its figures rest on."""
    clean = clean_cell(e.cells).scores.accuracy
    for found in e.detection:
        if found.threshold is None:
            yield _doubt(
                found,
                "no-threshold",
                f"{found.calibration_images} clean images are too few to promise a false-positive rate of "
                f"{_rate(found)}",
            )
            continue
        if found.refused:
            groups = ", ".join(found.refused)
            yield _doubt(
                found, "no-threshold", f"too few clean images by {found.by} for {groups}: none is flagged there"
            )
        checks: tuple[Callable[[Detection], Iterator[Doubt]], ...] = (_kept, _loose, _known, _few)
        for check in checks:
            yield from check(found)
        yield from _harmless(found, clean)


def _kept(found: Detection) -> Iterator[Doubt]:
    if _above(found.achieved_rate, found):
        said = f"it promised to flag {_rate(found)} of clean images and flagged {show(found.achieved_rate)}"
        yield _doubt(found, "rate-not-kept", said)


def _loose(found: Detection) -> Iterator[Doubt]:
    high = found.likely_high
    if high is not None and high > LOOSE * found.promised_rate:
        said = (
            f"{found.calibration_images} calibration images make a loose promise of {_rate(found)}: for 95 of 100 sets "
            f"of so many the rate comes out at up to {100 * high:.1f} %"
        )
        yield _doubt(found, "loose-promise", said, note=True)


def _harmless(found: Detection, clean: Estimate) -> Iterator[Doubt]:
    """Alarms after changes that the model bears: serious where the promise covers them, else a note."""
    borne = [row for row in found.benign if not exceeds(clean, row.accuracy)]
    over = [row for row in borne if _above(row.flagged, found)]
    for covered in (True, False):
        told = [row for row in over if (row.change in found.covers) is covered]
        if told:
            made = (
                "for which it promised" if covered else "for which no promise was made, while clean images have one of"
            )
            said = f"after harmless changes, {made} {_rate(found)}, it flags {_listed(told)} of clean images"
            yield _doubt(found, "benign-alarms", said, note=not covered)


def _known(found: Detection) -> Iterator[Doubt]:
    """Someone who knows the detector must have tried, and must not do worse than those who do not."""
    aware = [row for row in found.rows if row.kind == "aware"]
    if not aware:
        said = "no attack was made against it: what it flags are images of attackers who do not know of it"
        yield _doubt(found, "no-aware-attack", said, note=True)
    for eps in dict.fromkeys(row.eps for row in aware):
        blind, knowing = (_worst([row for row in found.rows if (row.kind, row.eps) == (kind, eps)]) for kind in _KINDS)
        if blind and knowing and exceeds(blind.undetected_success, knowing.undetected_success):
            said = (
                f"at {knowing.budget} the attack that knows it fools the model unseen on "
                f"{show(knowing.undetected_success)}, {blind.attack}, which does not, on "
                f"{show(blind.undetected_success)}: the aware attack is too weak to say what knowledge is worth"
            )
            yield _doubt(found, "weak-aware-attack", said)


def _few(found: Detection) -> Iterator[Doubt]:
    told = [row for row in found.rows if row.kind != "smallest" and 0 < row.detected.n < FEW_IMAGES]
    if told:
        named = ", ".join(f"{row.attack}{f' at {row.budget}' if row.budget else ''} ({row.detected.n})" for row in told)
        said = f"the share flagged rests on fewer than {FEW_IMAGES} images that fooled the model: {named}"
        yield _doubt(found, "few-flagged", said, note=True)


_KINDS = ("attack", "aware")


def _worst(rows: Iterable[DetectionRow]) -> DetectionRow | None:
    told = [row for row in rows if row.undetected_success.value is not None]
    return max(told, key=lambda row: row.undetected_success.value or 0.0, default=None)


def _above(rate: Estimate, found: Detection) -> bool:
    return rate.low is not None and rate.low > found.promised_rate


def _listed(rows: Iterable[BenignRow]) -> str:
    """The worst first."""
    ordered = sorted(rows, key=lambda row: -(row.flagged.value or 0.0))
    return ", ".join(f"{show(row.flagged)} ({row.title})" for row in ordered)


def _rate(found: Detection) -> str:
    return f"{100 * found.promised_rate:g} %"


def _doubt(found: Detection, kind: str, said: str, *, note: bool = False) -> Doubt:
    about = f"detector:{found.detector}"
    return Doubt(kind=kind, about=about, message=f"{found.detector}: {said}", severity="note" if note else "serious")
