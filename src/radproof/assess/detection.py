# SPDX-License-Identifier: Apache-2.0
"""How detectors kept their promise, what they notice, and what the forensic rule says of the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radproof.assess.answers import Answered, Bools, Floats, rightness
from radproof.assess.detected import BenignRow, Detection, DetectionRow
from radproof.assess.learned import learned_rows
from radproof.assess.material import Material
from radproof.assess.result import PairedCheck
from radproof.assess.summary import Measurer
from radproof.assess.watching import Watching, group_names
from radproof.assess.workspace import Arrays
from radproof.core.records import Estimate
from radproof.detectors.benign import benign

POINTS = 60  # of an ROC curve: enough to draw it


@dataclass(frozen=True)
class Seen:
    """All that detectors said in a run."""

    found: Sequence[Answered]  # clean, attacked on the model and aware
    smallest: Arrays | None  # at each image's smallest fooling budget
    training: dict[str, dict[str, Floats]]  # detector -> attack (or "clean", "calibration") -> its measurements

    @property
    def clean(self) -> Answered:
        """The clean test images."""
        return next(a for a in self.found if a.job.kind == "clean" and a.defense == "none")

    def attacked(self, detector: str) -> list[Answered]:
        """Every set of attacked images that this detector is to be told of."""
        made = [a for a in self.found if a.scores and a.job.kind == "attack"]
        return [a for a in made if a.job.role == "model" or a.job.on == detector]


def detections(seen: Seen, material: Material, measurer: Measurer) -> tuple[Detection, ...]:
    """One record per detector: its threshold, what rate it kept on clean images, and each attack at each budget."""
    return tuple(_Told(name, one, seen, material, measurer).record() for name, one in material.detectors.items())


@dataclass(frozen=True)
class _Told:
    name: str
    watching: Watching
    seen: Seen
    material: Material
    measurer: Measurer

    def record(self) -> Detection:
        thresholds, clean = self.watching.thresholds, self.seen.clean
        one = thresholds.of("") if not thresholds.by else None
        known = [group for group in thresholds.groups.values() if group.value is not None]
        flagged = self.flags(clean.scores[self.name], clean.logits, clean.rows)
        rows = [self.row(a) for a in self.seen.attacked(self.name)]
        least = self.smallest()
        return Detection(
            detector=self.name,
            threshold=one.value if one else (max(group.value or 0.0 for group in known) if known else None),
            promised_rate=thresholds.promised,
            calibration_images=sum(group.n for group in thresholds.groups.values()),
            achieved_rate=self.measurer.resampler(clean.rows).mean(flagged),
            rows=(*rows, *([least] if least else [])),
            likely_low=one.low if one else None,
            likely_high=one.high if one else None,
            by=thresholds.by,
            refused=tuple(name for name, group in thresholds.groups.items() if thresholds.by and group.value is None),
            covers=thresholds.covers,
            benign=tuple(self.harmless()),
            learned=learned_rows(
                self.seen.training.get(self.name, {}),
                clean,
                [a for a in self.seen.attacked(self.name) if a.job.role == "model"],
                self.name,
                self.measurer,
                rate=thresholds.promised,
            ),
        )

    def row(self, a: Answered) -> DetectionRow:
        return self._row(
            a.job.label + (f" ({a.job.goal})" if a.job.goal != "misclassify" else ""),
            a.job.budget,
            a.job.eps,
            "aware" if a.job.role == "detector" else "attack",
            a.rows,
            a.clean_right,
            a.clean_right & a.reached,
            a.scores[self.name],
            self.flags(a.scores[self.name], a.logits, a.rows),
        )

    def smallest(self) -> DetectionRow | None:
        """Each image at the smallest budget that fools it as stored."""
        least = self.seen.smallest
        if least is None or self.watching.thresholds.by == "class":  # whose answers at that budget are not kept
            return None
        right = least["float"] != 0
        scores = least[f"score:{self.name}"]
        flagged = self.flags(scores, np.zeros((len(scores), 1)), least["rows"])
        fooled = right & np.isfinite(least["stored"])
        return self._row("smallest", "", 0.0, "smallest", least["rows"], right, fooled, scores, flagged)

    def _row(
        self,
        attack: str,
        budget: str,
        eps: float,
        kind: str,
        rows: np.ndarray,
        right: Bools,
        fooled: Bools,
        suspicion: Floats,
        flagged: Bools,
    ) -> DetectionRow:
        mean, clean = self.measurer.resampler(rows).mean, self.seen.clean
        scores = np.concatenate([clean.scores[self.name], suspicion])
        positive = np.concatenate([np.zeros(len(clean.rows), bool), fooled])
        counted = np.concatenate([np.ones(len(clean.rows), bool), fooled])
        both = self.measurer.of_patients([self.measurer.patient(int(row)) for row in (*clean.rows, *rows)])

        def at(rate: float) -> Estimate | None:
            value = self.watching.at[rate].value
            return None if value is None else mean(suspicion > value, fooled)

        return DetectionRow.model_validate(
            {
                "detector": self.name,
                "attack": attack,
                "budget": budget,
                "eps": eps,
                "positives": "successful",
                "auroc": both.auroc(scores, positive, counted),
                "detected": mean(flagged, fooled),
                "undetected_success": mean(fooled & ~flagged, right),
                "roc": _roc(scores[counted], positive[counted]),
                "kind": kind,
                "success": mean(fooled, right),
                "at_5": at(0.05),
                "at_1": at(0.01),
            }
        )

    def harmless(self) -> list[BenignRow]:
        clean = self.seen.clean
        mean, y = self.measurer.resampler(clean.rows).mean, self.measurer.truth(clean.rows)
        found: list[BenignRow] = []
        for change in benign(max(self.material.depths)) if clean.harmless else ():
            logits = clean.harmless[change.name].astype(np.float64)
            flagged = self.flags(clean.harmless[f"{change.name}:{self.name}"], logits, clean.rows)
            right, _ = rightness(logits, y, self.measurer.head)
            found.append(BenignRow(change=change.name, title=change.title, flagged=mean(flagged), accuracy=mean(right)))
        return found

    def flags(self, scores: Floats, logits: Floats, rows: np.ndarray) -> Bools:
        """Over the threshold of each image's group; never where that was refused."""
        thresholds = self.watching.thresholds
        names = [""] * len(scores)
        if thresholds.by:
            views = [self.material.test.samples[int(row)].view or "" for row in rows]
            names = group_names(thresholds.by, self.material.model, torch.as_tensor(logits), views)
        known = {name: thresholds.of(name).value for name in set(names)}
        tau = np.array([np.inf if known[name] is None else known[name] for name in names], np.float64)
        return scores > tau


def _roc(scores: Floats, positive: np.ndarray) -> tuple[tuple[float, float], ...]:
    if positive.all() or not positive.any():
        return ()
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(positive, scores)
    keep = np.unique(np.linspace(0, len(false) - 1, POINTS).round().astype(int))
    return tuple((round(float(false[i]), 4), round(float(true[i]), 4)) for i in keep)


def paired_checks(found: Sequence[Answered], measurer: Measurer) -> tuple[PairedCheck, ...]:
    """What a comparison with the archived original would flag, with and without its label rule."""
    return tuple(
        PairedCheck(
            attack=a.job.label,
            budget=a.job.budget,
            flagged=measurer.resampler(a.rows).mean(a.paired[:, 0]),
            flagged_without_label_rule=measurer.resampler(a.rows).mean(a.paired[:, 1]),
        )
        for a in found
        if a.paired is not None and a.job.goal == "misclassify"
    )
