# SPDX-License-Identifier: Apache-2.0
"""The key figures at the head of a report, and what was found, in plain words."""

from dataclasses import dataclass

from radproof.assess.result import Cell
from radproof.core.records import Estimate
from radproof.reports.detection_words import headline
from radproof.reports.reading import BARE, Reading, about, still_right
from radproof.reports.threats import threat_names
from radproof.reports.words import Kind, Shown, count, listed, sample, sentence, show


@dataclass(frozen=True)
class Card:
    """One key figure."""

    title: str
    shown: Shown
    sample: str  # "90 images of 61 patients"
    note: str
    ladder: tuple[tuple[str, Shown], ...]  # the same at the other budgets
    marks: tuple[int, ...]  # doubts that concern it
    established: bool  # False where one of them is serious


def cards(reading: Reading) -> list[Card]:
    """Four to six figures that a reader takes away."""
    found = [_clean(reading), _under_attack(reading), _smallest(reading), _missed(reading)]
    return [card for card in (*found, _defended(reading), _detected(reading)) if card is not None]


def _card(
    reading: Reading,
    title: str,
    estimate: Estimate,
    note: str,
    *tags: str,
    kind: Kind = "share",
    ladder: tuple[tuple[str, Shown], ...] = (),
    most: float | None = None,
) -> Card:
    marks = reading.marks("all", *tags)
    shown = show(estimate, kind, strip=True, most=most)
    return Card(title, shown, sample(estimate), note, ladder, marks, not reading.serious(*tags))


def _clean(reading: Reading) -> Card | None:
    cell = reading.clean()
    if cell is None:
        return None
    note = f"AUROC {sentence(cell.scores.macro_auroc, 'score')}"
    return _card(reading, "Right on clean images", cell.scores.accuracy, note, *about(cell), "clean")


def _under_attack(reading: Reading) -> Card | None:
    cell = _at_reference(reading, BARE)
    right = still_right(cell)
    if cell is None or right is None:
        return None
    note = "No defence; for each image the worst of all attacks."
    ladder = _ladder(reading, BARE)
    return _card(reading, f"Still right under attack, {cell.budget}", right, note, *about(cell), ladder=ladder)


def _smallest(reading: Reading) -> Card | None:
    found = reading.result.smallest
    if found is None:
        return None
    loose = sentence(found.median_float, "budget", most=found.most)
    note = f"{found.attack}, white-box; before rounding to the file's grey levels {loose}"
    title = "Smallest change that fools half the images"
    return _card(reading, title, found.median_stored, note, "smallest", found.attack, kind="budget", most=found.most)


def _missed(reading: Reading) -> Card | None:
    goal = "missed-finding" if "missed-finding" in reading.goals else reading.goal
    rung, clean = reading.reference, reading.clean()
    cell = reading.headline(BARE, goal, rung.eps) if rung else None
    if cell is None or cell.scores.missed_findings is None:
        return None
    before = clean.scores.missed_findings if clean else None
    note = f"Images with disease read as Normal. Without attack {sentence(before)}."
    tags = (*about(cell), "missed-finding", "missed_findings")
    return _card(reading, f"Missed findings under attack, {cell.budget}", cell.scores.missed_findings, note, *tags)


def _defended(reading: Reading) -> Card | None:
    best = reading.best_defense()
    cell = _at_reference(reading, best) if best else None
    right = still_right(cell)
    if best is None or cell is None or right is None:
        return None
    note = f"{best}, against attackers who know it; for each image the worst of all columns."
    ladder = _ladder(reading, best)
    title = f"Still right behind the best defence, {cell.budget}"
    return _card(reading, title, right, note, *about(cell), ladder=ladder)


def _detected(reading: Reading) -> Card | None:
    best = reading.best_detection()
    if best is None:
        return None
    found, row = best
    tags = (f"detector:{found.detector}", found.detector)
    alarms = f"false alarms on clean images {sentence(found.achieved_rate)}"
    aware = reading.unseen(found, "aware")
    worst = reading.unseen(found, "attack", "aware")
    if aware is not None and worst is not None:
        others = reading.unseen(found, "attack")
        knows = "which knows it" if worst.kind == "aware" else "which does not even know it"
        beside = f"; by attacks that do not know it {sentence(others.undetected_success)}" if others else ""
        note = f"{found.detector}; worst attack {worst.attack}, {knows}{beside if worst is aware else ''}; {alarms}"
        title = f"Fooled, and unseen by the best detector, {worst.budget}"
        return _card(reading, title, worst.undetected_success, note, *tags)
    note = f"{found.detector}, on the attack it sees worst ({row.attack}); {alarms}"
    return _card(reading, f"Attacks flagged by the best detector, {row.budget}", row.detected, note, *tags)


def _at_reference(reading: Reading, defense: str) -> Cell | None:
    rung = reading.reference
    return reading.headline(defense, reading.goal, rung.eps) if rung else None


def _ladder(reading: Reading, defense: str) -> tuple[tuple[str, Shown], ...]:
    others = [rung for rung in reading.budgets if rung != reading.reference]
    found = [(rung.label, reading.headline(defense, reading.goal, rung.eps)) for rung in others]
    return tuple((label, show(still_right(cell), strip=True)) for label, cell in found if cell is not None)


def story(reading: Reading) -> list[str]:
    """What was done, what came out, what it means: one paragraph each."""
    return [
        text
        for text in (_done(reading), _came_out(reading), _defences(reading), headline(reading), _means(reading))
        if text
    ]


def _done(reading: Reading) -> str:
    result = reading.result
    name = result.model.get("architecture") or result.model.get("name") or "the model"
    drawn = "drawn images (phantoms, not patients)" if result.phantom else "images"
    attacks = listed(list(dict.fromkeys(attack for attack, _ in reading.attacks)))
    budgets = listed([rung.label for rung in reading.budgets])
    others = threat_names(reading)
    what = f"it was attacked with {attacks}: computed changes of at most {budgets} of the grey scale per pixel."
    apart = f"{'Apart from these, it' if attacks else 'it'} was attacked with {others}, each within its own limits."
    said = " ".join(text for text, there in ((what, attacks), (apart, others)) if there)
    return (
        f"{name} sorts {drawn} into {listed(list(result.labels))}. On {count(result.images, 'image')} of "
        f"{count(result.patients, 'patient')} at {result.resolution} (preset {result.preset}), "
        f"{said or 'no attack was made.'}"
    )


def _came_out(reading: Reading) -> str:
    clean, cell = reading.clean(), _at_reference(reading, BARE)
    right = still_right(cell)
    if clean is None or cell is None or right is None:
        return ""
    text = f"Without attack {sentence(clean.scores.accuracy)} of the answers were right; "
    text += f"with changes of at most {cell.budget}, {sentence(right)} stayed right"
    clear = right.high is not None and clean.scores.accuracy.low is not None and right.high < clean.scores.accuracy.low
    text += "." if clear else ": the intervals overlap, so no loss is established."
    goal = "missed-finding" if "missed-finding" in reading.goals else reading.goal
    missed = reading.headline(BARE, goal, cell.eps)
    if missed is not None and missed.scores.missed_findings is not None:
        text += f" Of the images with disease, {sentence(missed.scores.missed_findings)} were then read as Normal."
    return text


def _defences(reading: Reading) -> str:
    best, rung = reading.best_defense(), reading.reference
    if best is None or rung is None:
        return ""
    oblivious = still_right(reading.column(best, "oblivious", reading.goal, rung.eps))
    cell = reading.headline(best, reading.goal, rung.eps)
    headline, doubted = still_right(cell), reading.serious(*about(cell))
    sure = "the second figure is what the defence is worth"
    worth = "that it is worth so much is not established" if doubted else sure
    return (
        f"Behind the best defence tried, {best}, {sentence(oblivious)} stayed right as long as the attacker did not "
        f"know of it, and {sentence(headline)} once every attack counted, also those made against the defence: "
        f"{worth}."
    )


def _means(reading: Reading) -> str:
    serious = [one for one in reading.doubts if one.doubt.severity == "serious"]
    text = (
        "For the clinic: whoever can alter image files on their way to the model can turn its answers to this extent "
        "by changes as small as these. This report supports evidence for the robustness and cybersecurity parts "
        "of a risk file; it says nothing of how well the model helps patients."
    )
    if not serious:
        return text
    stand = "One serious doubt stands" if len(serious) == 1 else f"Serious doubts stand ({len(serious)})"
    return f"{text} {stand}: where a figure is marked “not established”, do not build on it."
