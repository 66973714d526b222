# SPDX-License-Identifier: Apache-2.0
"""Detectors: what each promised and kept, what it flags of each attack, and what passes when the attacker knows it."""

from collections.abc import Iterable

from radproof.assess.detected import Detection, DetectionRow, LearnedRow
from radproof.core.records import Estimate
from radproof.reports.reading import Reading
from radproof.reports.tables import OWN_LIMITS, Box, Row, Table
from radproof.reports.words import NOT_ESTABLISHED, NOTHING, Kind, joined, listed, plain, show

SMALLEST = "each at its smallest fooling budget"
AWARE = "knows the detector"
REFUSED = "no threshold"
_AWARE_HEADS = (
    "Detector and budget",
    "Attack that knows it",
    "Fooled the model",
    "Flagged of these",
    "Fooled, unseen",
    "Fooled, unseen, not knowing it",
)
_POSITIVES = {"successful": "", "all": "of all attacked images"}


def promise_table(reading: Reading) -> Table | None:
    """False alarms on clean images: promised, kept, and what so many calibration images can be expected to keep."""
    found = reading.result.detection
    if not found:
        return None
    alike = len({one.covers for one in found}) == 1
    rows = [
        Row(
            Box(
                text=one.detector,
                small=joined(f"a threshold for each {one.by}" if one.by else "", "" if alike else _covers(one)),
                marks=reading.marks(*named(one.detector)),
            ),
            (
                Box(text=f"{100 * one.promised_rate:g} %"),
                Box(text=NOTHING, small=REFUSED)
                if one.threshold is None
                else Box((show(one.achieved_rate, strip=True),), small=_kept(one)),
                _likely(one),
                Box(text=plain(one.calibration_images), small=_refused(one)),
            ),
        )
        for one in found
    ]
    heads = (
        "Detector",
        "False alarms promised",
        "False alarms on clean test images",
        "Expected for so many calibration images",
        "Calibration images",
    )
    note = (
        "Expected: where the rate lies for 95 of 100 sets of so many calibration images. "
        + (f"The promise covers: {_covers(found[0])}." if alike else "")
    ).strip()
    return Table("What each detector promised and kept", heads, tuple(rows), note)


def aware_tables(reading: Reading) -> list[Table]:
    """Attackers who know the detector: success, flagged, and both together beside those who do not know it.

    The best detector first, the others in a second table.
    """
    best = reading.best_detection()
    groups = (
        [one for one in reading.result.detection if best is not None and one.detector == best[0].detector],
        [one for one in reading.result.detection if best is None or one.detector != best[0].detector],
    )
    note = (
        "Fooled, unseen: share of the images answered rightly before that fooled the model and were not flagged; only "
        "this figure says what a detector is worth. Last column: the worst attack at the same budget made without "
        "knowing the detector."
    )
    tables: list[Table] = []
    for group in groups:
        rows = tuple(row for found in group for row in _aware_rows(reading, found))
        if rows:
            tables.append(Table("Attackers who know the detector", _AWARE_HEADS, rows, "" if tables else note))
    return tables


def learned_table(reading: Reading) -> Table | None:
    """The best detector also trained with attacks, judged on the one left out; all others are in result.json."""
    best = reading.best_detection()
    told = [found for found in reading.result.detection if found.learned]
    chosen = [found for found in told if best is not None and found.detector == best[0].detector] or told[:1]
    most = max((len(row.trained_with) for found in chosen for row in found.learned), default=0)
    rows = [
        Row(
            Box(text=f"{found.detector} · {row.attack} at {row.budget}"),
            (
                Box(text=listed(list(row.trained_with))),
                Box(text=NOTHING, small=row.reason) if row.reason else _box(row.detected),
                Box(text=NOTHING, small=REFUSED) if row.reason else _box(row.achieved),
                *_alone(found, row),
                Box(text=NOTHING, small=REFUSED) if row.reason else _box(row.auroc, "score"),
            ),
        )
        for found in chosen
        for row in found.learned
        if len(row.trained_with) == most
    ]
    heads = (
        "Detector and attack left out",
        "Trained with",
        "Flagged",
        "False alarms",
        "Flagged, clean images alone",
        "False alarms, clean images alone",
        "AUROC",
    )
    note = (
        "Does training with attacks help against one that was not seen? Flagged: of the left-out attack's images, at "
        "the promised rate. False alarms: on unchanged clean test images; more flagged with more false alarms is no "
        "gain. Beside it the same detector taught with clean images alone. Other detectors, and training with one "
        "attack alone, stand in result.json."
    )
    return Table("Trained with attacks, judged on the one left out", heads, tuple(rows), note) if rows else None


def number_tables(reading: Reading) -> list[tuple[str, Table]]:
    """For each detector every attack by itself: thresholds for 5 % and 1 %, AUROC, and what passes unseen."""
    return [(found.detector, _numbers(reading, found)) for found in reading.result.detection if found.rows]


def named(detector: str) -> tuple[str, str]:
    """What doubts may call a detector."""
    return f"detector:{detector}", detector


def doubted(reading: Reading, found: Detection) -> str:
    """'not established' where a serious doubt concerns the detector."""
    return NOT_ESTABLISHED if reading.serious(*named(found.detector)) else ""


def what(row: DetectionRow) -> Box:
    """The head of a row: the attack, and what sets it apart."""
    text = SMALLEST if row.kind == "smallest" else row.attack
    return Box(text=text, small=joined(AWARE if row.kind == "aware" else "", _POSITIVES.get(row.positives, "")))


def worst(reading: Reading, rows: Iterable[DetectionRow], kind: str) -> DetectionRow | None:
    """The one of this kind that most often fools the model unflagged; of attacks with a budget where there are any."""
    told = [row for row in rows if row.kind == kind and row.undetected_success.value is not None]
    apart = {cell.attack for cell in reading.others}
    told = [row for row in told if row.eps > 0 and row.attack not in apart] or told
    return max(told, key=unseen, default=None)


def unseen(row: DetectionRow) -> float:
    """Share of images that fooled the model without being flagged."""
    return row.undetected_success.value or 0.0


def where(row: DetectionRow) -> str:
    """'4/255', or words for attacks without a budget."""
    return row.budget or OWN_LIMITS


def _numbers(reading: Reading, found: Detection) -> Table:
    rates = {"Flagged for 5 %": "at_5", "Flagged for 1 %": "at_1"}
    new = {  # as measured, and not what the promised rate says already
        name: any(getattr(row, name) not in (None, row.detected) for row in found.rows) for name in rates.values()
    }
    told = {head: name for head, name in rates.items() if new[name]}
    rows = tuple(
        Row(
            Box(text=joined(what(row).text, row.budget), small=what(row).small),
            (
                Box(text=NOTHING, small=REFUSED) if found.threshold is None else _box(row.detected),
                *(_box(getattr(row, name), none="too few calibration images") for name in told.values()),
                _box(row.auroc, "score"),
                _box(row.undetected_success),
            ),
        )
        for row in found.rows
    )
    heads = ("Attack and budget", f"Flagged for {100 * found.promised_rate:g} % (promised)", *told, "AUROC", "Unseen")
    note = (
        "Flagged: share of the images that fooled the model whose score lies above the threshold for so many false "
        "alarms; n is their number. Unseen: of the images answered rightly before, those that fooled the model and "
        "were not flagged."
    )
    return Table(f"Flagged by {found.detector}", heads, rows, note, reading.marks(*named(found.detector)))


def _aware_rows(reading: Reading, found: Detection) -> list[Row]:
    own = sorted((row for row in found.rows if row.kind == "aware"), key=lambda row: (row.eps, row.attack))
    rows: list[Row] = []
    for row in own:
        beside = worst(reading, [other for other in found.rows if other.eps == row.eps], "attack")
        boxes = (
            Box(text=row.attack),
            _box(row.success),
            Box(text=NOTHING, small=REFUSED) if found.threshold is None else _box(row.detected),
            Box((show(row.undetected_success, strip=True),), small=doubted(reading, found)),
            Box((show(beside.undetected_success, strip=True),), small=beside.attack)
            if beside
            else Box(text=NOTHING, small="not run"),
        )
        head = Box(text=f"{found.detector} · {where(row)}", marks=reading.marks(*named(found.detector)))
        rows.append(Row(head, boxes, "group" if row is own[0] else ""))
    return rows


def _alone(found: Detection, learned: LearnedRow) -> tuple[Box, Box]:
    same = [
        row for row in found.rows if (row.kind, row.attack, row.budget) == ("attack", learned.attack, learned.budget)
    ]
    if found.threshold is None:
        return Box(text=NOTHING, small=REFUSED), Box(text=NOTHING, small=REFUSED)
    return _box(same[0].detected if same else None), _box(found.achieved_rate)


def _kept(found: Detection) -> str:
    rate = found.achieved_rate
    if rate.value is None or rate.low is None or rate.high is None:
        return ""
    if rate.low > found.promised_rate:
        return "not kept"
    return "kept" if rate.value <= found.promised_rate else "above it, by no more than chance"


def _likely(found: Detection) -> Box:
    if found.likely_low is None or found.likely_high is None:
        each = found.by and found.threshold is not None
        return Box(text=NOTHING, small=f"each {found.by} has its own" if each else "")
    low, high = (f"{100 * rate:.1f}" for rate in (found.likely_low, found.likely_high))
    return Box(text=f"{low}–{high} %" if found.likely_low > 0 else f"up to {high} %")


def _refused(found: Detection) -> str:
    return "" if found.threshold is not None else "too few for this rate: no threshold was set"


def _covers(found: Detection) -> str:
    titles = {row.change: row.title for row in found.benign}
    return "; ".join("unchanged images" if name == "clean" else titles.get(name, name) for name in found.covers)


def _box(estimate: Estimate | None, kind: Kind = "share", none: str = "not measured") -> Box:
    return Box(text=NOTHING, small=none) if estimate is None else Box((show(estimate, kind, strip=True),))
