# SPDX-License-Identifier: Apache-2.0
"""Doubts that the cells of a result give rise to: attacks that do less than weaker ones."""

from collections.abc import Iterator
from itertools import pairwise

from radproof.assess.evidence import FEW_PATIENTS, TOLERANCE, Evidence, clean_cell, exceeds, show, success
from radproof.assess.result import Cell
from radproof.core.records import Doubt

ONE_STEP = ("fgsm",)


def attack_doubts(e: Evidence) -> Iterator[Doubt]:
    """Every doubt about the strength of an attack that shows between cells."""
    for check in (_monotone, _one_step, _transfer, _noise, _adaptive):
        yield from check(e)


def _monotone(e: Evidence) -> Iterator[Doubt]:
    lines: dict[tuple[str, ...], list[Cell]] = {}
    for cell in e.cells:
        if cell.robust_accuracy and cell.eps:
            lines.setdefault((cell.column, cell.attack, cell.goal, cell.defense, cell.made_on), []).append(cell)
    for cells in lines.values():
        for small, large in pairwise(sorted(cells, key=lambda cell: cell.eps)):
            a, b = small.robust_accuracy, large.robust_accuracy
            if a and b and a.value is not None and b.low is not None and b.low > a.value + 1e-9:
                one_step = large.attack in ONE_STEP
                # Carried over from elsewhere, a larger change may fit another model worse; its own attacks must not.
                carried = large.column == "transfer" or (large.column == "oblivious" and large.defense != "none")
                why = (
                    "a single step overshoots"
                    if one_step
                    else "images made elsewhere do not carry over alike"
                    if carried
                    else "the attack is not working as it should"
                )
                yield Doubt(
                    kind="not-monotone",
                    about=large.key if one_step or carried else f"defense:{large.defense}",
                    message=f"{_named(large)} leaves more images right at {large.budget} ({show(b)}) than at "
                    f"{small.budget} ({show(a)}): {why}",
                    severity="note" if one_step or carried else "serious",
                )


def _one_step(e: Evidence) -> Iterator[Doubt]:
    for one in e.cells:
        if one.attack not in ONE_STEP or not _bare(one):
            continue
        several = [c for c in e.cells if _bare(c) and _iterative(c) and (c.eps, c.goal) == (one.eps, one.goal)]
        best = max(several, key=success, default=None)
        if best and exceeds(one.success, best.success) and (one.success is None or one.success.n >= FEW_PATIENTS):
            yield Doubt(
                kind="one-step-beats-iterative",
                about="defense:none",
                message=f"{one.attack} succeeds on {show(one.success)} at {one.budget}, the best of several steps "
                f"({best.attack}) on {show(best.success)}: gradients mislead",
            )


def _transfer(e: Evidence) -> Iterator[Doubt]:
    """Images carried over from another network must not beat those made on the bare model itself."""
    worst = {(c.column, c.goal, c.eps): c for c in e.cells if c.attack == "worst" and c.defense == "none"}
    for (column, goal, eps), carried in worst.items():
        own = worst.get(("oblivious", goal, eps))
        if column == "transfer" and own and exceeds(carried.success, own.success):
            yield Doubt(
                kind="black-box-beats-white-box",
                about="defense:none",
                message=f"at {carried.budget} images made on other networks fool the bare model on "
                f"{show(carried.success)}, those made on itself on {show(own.success)}: its gradients mislead",
            )


def _noise(e: Evidence) -> Iterator[Doubt]:
    clean = clean_cell(e.cells).robust_accuracy
    for eps, noisy in e.noise.items():
        attacked = [c for c in e.cells if _bare(c) and c.eps == eps and c.attack == "worst" and c.goal == "misclassify"]
        if not attacked or noisy.value is None or noisy.high is None or clean is None or clean.value is None:
            continue
        lost, robust = clean.value - noisy.value, attacked[0].robust_accuracy
        if robust and robust.value is not None and lost > 0.5 * (clean.value - robust.value) and lost > 2 * TOLERANCE:
            yield Doubt(
                kind="noise-does-as-much",
                about="defense:none",
                message=f"random noise of {attacked[0].budget} already brings accuracy to {show(noisy)}, "
                f"the attacks to {show(robust)}: the attacks find little that chance does not",
            )


def _adaptive(e: Evidence) -> Iterator[Doubt]:
    worst = {(c.column, c.defense, c.goal, c.eps): c for c in e.cells if c.attack == "worst"}
    for (column, defense, goal, eps), oblivious in worst.items():
        adaptive = worst.get(("adaptive", defense, goal, eps))
        if column not in ("oblivious", "transfer") or defense == "none":
            continue
        if adaptive is None:
            if column == "oblivious" or ("oblivious", defense, goal, eps) not in worst:
                yield Doubt(
                    kind="not-tested-adaptively",
                    about=worst["headline", defense, goal, eps].key,
                    message=f"no attack at {oblivious.budget} was made against {defense} itself: what it withstands is "
                    "an attacker who does not know of it",
                )
            continue
        if exceeds(oblivious.success, adaptive.success):
            yield Doubt(
                kind="weak-adaptive-attack",
                about=f"defense:{defense}",
                message=f"against {defense} at {adaptive.budget} the adaptive attacks succeed on "
                f"{show(adaptive.success)}, those made without knowing the defence on {show(oblivious.success)}: "
                "the adaptive attack is too weak to call the defence tested",
            )


def _named(cell: Cell) -> str:
    """An attack, and the contender it was made for."""
    what = "the worst per image" if cell.attack == "worst" else cell.attack
    return what if cell.defense == "none" else f"{what} ({cell.column}) against {cell.defense}"


def _bare(cell: Cell) -> bool:
    return cell.column == "oblivious" and cell.defense == "none"


def _iterative(cell: Cell) -> bool:
    return cell.threat == "linf" and cell.attack not in (*ONE_STEP, "worst") and cell.backwards > 1
