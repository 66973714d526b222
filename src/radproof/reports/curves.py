# SPDX-License-Identifier: Apache-2.0
"""Training curves as a picture beside the model, for who trains without assessing."""

import json
from pathlib import Path
from typing import Any

from radproof.core.files import atomic

HISTORY, CURVES = "history.json", "curves.svg"


def write_curves(folder: Path) -> Path:
    """Draw `folder`/curves.svg from `folder`/history.json: losses left, accuracy and AUROC right; equal bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    epochs: list[dict[str, Any]] = json.loads((folder / HISTORY).read_text(encoding="utf-8"))["epochs"]
    at = range(1, len(epochs) + 1)
    with rc_context({"svg.hashsalt": "radproof", "font.size": 9}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, title, lines in (
            (
                left,
                "Loss",
                {
                    "training": "train_loss",
                    "validation": "validation_loss",
                    "attacked validation": "validation_robust_loss",
                },
            ),
            (
                right,
                "Accuracy and AUROC",
                {
                    "training accuracy": "train_accuracy",
                    "validation accuracy": "validation_accuracy",
                    "validation AUROC": "validation_auroc",
                    "attacked validation accuracy": "validation_robust_accuracy",
                },
            ),
        ):
            for (name, key), style in zip(lines.items(), ("-", "--", ":", "-."), strict=False):
                values = [epoch.get(key) for epoch in epochs]
                if any(value is not None for value in values):
                    axes.plot(at, values, style, marker=".", label=name)
            axes.set(title=title, xlabel="epoch")
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
        with atomic(folder / CURVES) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
    return folder / CURVES
