# SPDX-License-Identifier: Apache-2.0
"""What the checks look at, and how their sentences show a figure."""

from collections.abc import Sequence
from dataclasses import dataclass

from radproof.assess.detected import Detection
from radproof.assess.material import Material
from radproof.assess.probed import Probed
from radproof.assess.result import Cell, Shortcut
from radproof.core.records import Doubt, Estimate
from radproof.data.findings import Audit

FEW_PATIENTS = 30
TOLERANCE = 0.01  # a point: smaller differences are none


@dataclass(frozen=True)
class Evidence:
    """What the checks look at."""

    material: Material
    cells: Sequence[Cell]
    detection: Sequence[Detection]
    shortcuts: Sequence[Shortcut]
    audit: Audit
    halvings: int  # how often memory ran out and the micro-batch was halved, at most
    noise: dict[float, Estimate]  # the bare model's accuracy under random noise of each budget's size
    preflight: Sequence[Doubt]
    probed: Sequence[Probed] = ()


def clean_cell(cells: Sequence[Cell], defense: str = "none") -> Cell:
    """The answers to clean images."""
    return next(cell for cell in cells if cell.column == "clean" and cell.defense == defense)


def success(cell: Cell) -> float:
    """Share of images that reached the goal; 0 where there were none."""
    return (cell.success.value or 0.0) if cell.success else 0.0


def exceeds(larger: Estimate | None, smaller: Estimate | None) -> bool:
    """Whether one figure is more than a point above another, which lies outside its interval."""
    if not larger or not smaller or larger.value is None or larger.low is None or smaller.value is None:
        return False
    return larger.value > smaller.value + TOLERANCE and larger.low > smaller.value + 1e-9


def show(estimate: Estimate | None, digits: int = 0) -> str:
    """62 % (54–70), or 0.79 (0.74–0.83) where `digits` asks for decimals."""
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return "–"
    if digits:
        return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f}–{estimate.high:.{digits}f})"
    return f"{100 * estimate.value:.0f} % ({100 * estimate.low:.0f}–{100 * estimate.high:.0f})"
