# SPDX-License-Identifier: Apache-2.0
"""What the figures of detectors say in sentences: the worst first, and nothing stronger than the doubts allow."""

from radproof.assess.detected import Detection, DetectionRow
from radproof.reports.detection import named, unseen, where, worst
from radproof.reports.reading import Reading
from radproof.reports.words import count, listed, sentence


def detection_words(reading: Reading) -> str:
    """The worst that gets past the best detector, what it flags, its false alarms, and who is refused or doubted."""
    best = reading.best_detection()
    if best is None:
        return ""
    found, row = best
    said = [_headline(reading, found)]
    if found.threshold is not None:
        said += [_flagged(found, row), _alarms(found)]
    refused = [one.detector for one in reading.result.detection if one.threshold is None]
    if refused:
        said.append(f"Too few clean images to keep a promise, so no threshold was set: {listed(refused)}.")
    about_all = set(reading.serious())
    names = [one.detector for one in reading.result.detection]
    doubted = [name for name in names if set(reading.serious(*named(name))) - about_all]
    if doubted:
        said.append(f"Not established, because a serious doubt stands about it: {listed(doubted)}.")
    if about_all:
        said.append("A serious doubt concerns every figure here: all of this was measured, none of it is established.")
    return " ".join(text for text in said if text)


def headline(reading: Reading) -> str:
    """One sentence: the worst that gets past the best detector, and who made it. Nothing where no detector looked."""
    best = reading.best_detection()
    if best is None:
        return ""
    doubted = reading.serious(*named(best[0].detector))
    return _headline(reading, best[0]) + (" A serious doubt stands: this is not established." if doubted else "")


def _headline(reading: Reading, found: Detection) -> str:
    if found.threshold is None:
        return "No detector set a threshold, so nothing was flagged."
    aware, oblivious = worst(reading, found.rows, "aware"), worst(reading, found.rows, "attack")
    if aware is None:
        return _unknown(found, oblivious)
    if oblivious is not None and unseen(oblivious) > unseen(aware):
        return _even_oblivious(reading, found, oblivious, aware)
    beside = worst(reading, [row for row in found.rows if row.eps == aware.eps], "attack")
    other = f"; one who does not, on {sentence(beside.undetected_success)} ({beside.attack})" if beside else ""
    return f"An attacker who knows {found.detector} still fools the model unnoticed on {_share(aware)}{other}."


def _unknown(found: Detection, oblivious: DetectionRow | None) -> str:
    if oblivious is None:
        return "No image fooled the model, so there was nothing to flag."
    return (
        f"An attacker who does not know of {found.detector} fools the model unnoticed on {_share(oblivious)}; no "
        "attack that knows it was made, and one that does will do better."
    )


def _even_oblivious(reading: Reading, found: Detection, oblivious: DetectionRow, aware: DetectionRow) -> str:
    said = f"Even an attacker who does not know of {found.detector} fools the model unnoticed on {_share(oblivious)}"
    same = worst(reading, [row for row in found.rows if row.eps == oblivious.eps], "aware")
    if same is None:
        return f"{said}; one who knows it, on {_share(aware)}."
    return (
        f"{said}; the attack made against the detector passes on {sentence(same.undetected_success)} ({same.attack}), "
        "so it was the weaker one, and what knowledge of the detector is worth is not established."
    )


def _share(row: DetectionRow) -> str:
    return f"{sentence(row.undetected_success)} of images at {where(row)} ({row.attack})"


def _flagged(found: Detection, row: DetectionRow) -> str:
    return (
        f"Of the images that fooled the model with {row.attack} at {where(row)}, the attack that {found.detector} sees "
        f"worst, it flags {sentence(row.detected)}; it raised false alarms on {sentence(found.achieved_rate)} of clean "
        f"images and had promised {100 * found.promised_rate:g} %."
    )


def _alarms(found: Detection) -> str:
    told = [row for row in found.benign if row.flagged.value is not None]
    if not told:
        return ""
    most = max(told, key=lambda row: row.flagged.value or 0.0)
    over = ", more than promised" if (most.flagged.low or 0.0) > found.promised_rate else ""
    changes = count(len(told), "harmless change")
    return f"Of {changes} it takes offence most at “{most.title}”: {sentence(most.flagged)} flagged{over}."
