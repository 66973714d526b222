# SPDX-License-Identifier: Apache-2.0
"""What a figure must be read against: the views that a set mixes."""

import numpy as np

from radproof.assess.answers import Answered
from radproof.assess.material import Material
from radproof.assess.summary import Measurer
from radproof.core.records import Estimate
from radproof.measure.calibration import probabilities


def by_view(clean: Answered, material: Material, measurer: Measurer) -> dict[str, Estimate]:
    """Clean accuracy and AUROC per view position; `balanced` weighs the views alike within every class."""
    views = np.array([material.test.samples[row].view or "unknown" for row in clean.rows])
    resampler = measurer.resampler(clean.rows)
    found = {f"accuracy {view}": resampler.mean(clean.right, views == view) for view in sorted(set(views))}
    if len(set(views)) > 1 and material.manifest.head == "softmax":
        found["accuracy balanced"] = _balanced(clean, views, material, measurer)
        p = probabilities(clean.logits, "softmax")
        y = material.y.cpu().numpy()[clean.rows]
        for view in sorted(set(views)):
            for k, label in enumerate(material.manifest.labels):
                found[f"AUROC {label} {view}"] = resampler.auroc(p[:, k], y == k, views == view)
    return found


def _balanced(clean: Answered, views: np.ndarray, material: Material, measurer: Measurer) -> Estimate:
    """Accuracy where every class holds as many images of each view: means of cells, averaged."""
    y = material.y.cpu().numpy()[clean.rows]
    resampler = measurer.resampler(clean.rows)
    cells = [(y == k) & (views == view) for k in sorted(set(y.tolist())) for view in sorted(set(views))]
    totals = resampler.totals(np.stack([*cells, *(cell & clean.right for cell in cells)], axis=1).astype(np.int64))
    n, hits = totals[:, : len(cells)], totals[:, len(cells) :]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(n > 0, hits / n, np.nan)
    there = (~np.isnan(shares)).sum(axis=1)
    values = np.nansum(shares, axis=1) / np.maximum(there, 1)
    return resampler.interval(values, images=len(clean.rows), patients=resampler.patients())
