# SPDX-License-Identifier: Apache-2.0
"""The tables that stand apart: the forensic comparison, visible corruptions, shortcuts and views."""

from radproof.reports.reading import BARE, Reading, about
from radproof.reports.tables import Box, Row, Table
from radproof.reports.words import show


def paired_table(reading: Reading) -> Table | None:
    """The forensic rule, apart from detectors."""
    rows = [
        Row(
            Box(text=one.attack, small=one.budget),
            (Box((show(one.flagged, strip=True),)), Box((show(one.flagged_without_label_rule, strip=True),))),
        )
        for one in reading.result.paired
    ]
    heads = ("Attack", "Flagged", "Flagged without the label rule")
    return Table("Paired check: an archived and a received copy compared", heads, tuple(rows)) if rows else None


def corruption_table(reading: Reading) -> Table | None:
    """Visible changes without an adversary: no budget, no L-infinity number."""
    rows = [
        Row(
            Box(text=cell.attack, small="" if cell.defense == BARE else f"behind {cell.defense}"),
            (
                Box((show(cell.scores.accuracy, strip=True),), marks=reading.marks(*about(cell))),
                Box((show(cell.success, strip=True),)),
                Box((show(cell.ssim, "score"),)),
                Box((show(cell.psnr, "decibel"),)),
            ),
        )
        for cell in reading.corruptions
    ]
    heads = ("Corruption", "Accuracy", "Answers turned wrong", "SSIM", "PSNR")
    return Table("Answers on visibly changed images", heads, tuple(rows)) if rows else None


def shortcut_table(reading: Reading) -> Table | None:
    """The model beside what needs no anatomy at all."""
    if not reading.result.shortcuts:
        return None
    clean = reading.clean()
    rows = [
        Row(
            Box(text=f"{one.name.replace('_', ' ')} alone", marks=reading.marks(f"shortcut:{one.name}", one.name)),
            (Box((show(one.auroc, "score", strip=True),)), Box((show(one.accuracy, strip=True),))),
        )
        for one in reading.result.shortcuts
    ]
    if clean is not None:
        scores = clean.scores
        model = (Box((show(scores.macro_auroc, "score", strip=True),)), Box((show(scores.accuracy, strip=True),)))
        rows.insert(0, Row(Box(text="the model", marks=reading.marks("shortcut", "shortcuts")), model, "headline"))
    note = "A model whose interval does not clear these baselines may have learnt something other than the disease."
    return Table("What needs no anatomy to predict", ("Predictor", "AUROC", "Accuracy"), tuple(rows), note)


def view_table(reading: Reading) -> Table | None:
    """The model on clean images of each view: accuracies, and AUROCs where the result has them."""
    rows = [
        Row(
            Box(text=view, marks=reading.marks(f"view:{view}")),
            (Box((show(one, "score" if view.startswith("AUROC") else "share", strip=True),)),),
        )
        for view, one in reading.result.by_view.items()
    ]
    return Table("By view", ("View", "On clean images"), tuple(rows)) if rows else None
