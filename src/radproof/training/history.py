# SPDX-License-Identifier: Apache-2.0
"""What each epoch brought. Times are kept apart, so that equal trainings write equal histories."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer
from torch import Tensor

from radproof.core.files import write_text
from radproof.core.records import Record
from radproof.core.types import Head
from radproof.measure.calibration import losses, probabilities
from radproof.measure.classification import answers

NAME = "history.json"
_LATER = ("budget", "validation_robust_loss", "validation_robust_accuracy", "train_robust_accuracy", "note")


class Epoch(Record):
    """One pass over the training fold and what the validation fold then said."""

    stage: Literal["head", "fine-tuning"]
    epoch: int  # from 1, in its stage
    lr: float  # at the end of the epoch
    train_loss: float
    train_accuracy: float  # while training: dropout and augmentation on, images as they were shown (attacked, noisy)
    validation_loss: float  # weighted as the training loss is
    validation_accuracy: float
    validation_auroc: float | None  # macro, one against the rest; None where a fold shows one class only
    budget: float | None = None  # of adversarial training in this epoch; this and all below are None elsewhere
    validation_robust_loss: float | None = None  # of attacked validation images, at the full budget
    validation_robust_accuracy: float | None = None
    train_robust_accuracy: float | None = None  # of one minibatch of training images, always the same; method fast
    note: str | None = None  # why the training stopped here

    @property
    def judged(self) -> float:
        """The loss by which epochs are compared: that of attacked validation images where there are any."""
        return self.validation_loss if self.validation_robust_loss is None else self.validation_robust_loss

    @model_serializer(mode="wrap")
    def _told(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what only adversarial training fills in: other histories read as they ever did."""
        return {key: value for key, value in plain(self).items() if key not in _LATER or value is not None}


class History(Record):
    """A training from first to last epoch, and of what recipe and data: history.json."""

    digest: str
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class Scored:
    """How logits answer a fold."""

    loss: float  # unweighted
    accuracy: float  # share of images, or of findings, answered rightly
    auroc: float | None


def score(logits: Tensor, targets: Tensor, head: Head) -> Scored:
    """Score logits (N, K) against targets, (N,) classes or (N, K) findings; float64 throughout."""
    values, truth = logits.double().cpu().numpy(), targets.cpu().numpy()
    right = answers(values, head) == (truth if head == "softmax" else truth > 0.5)
    return Scored(float(losses(values, truth, head).mean()), float(right.mean()), macro_auroc(values, truth, head))


def macro_auroc(logits: NDArray[np.float64], truth: NDArray[Any], head: Head) -> float | None:
    """Mean AUROC, one class against the rest, over the classes that some but not all images show."""
    from sklearn.metrics import roc_auc_score

    shown = truth[:, None] == np.arange(logits.shape[1]) if head == "softmax" else truth > 0.5
    p = probabilities(logits, head)
    mixed = [k for k in range(logits.shape[1]) if 0 < shown[:, k].sum() < len(shown)]
    return float(np.mean([roc_auc_score(shown[:, k], p[:, k]) for k in mixed])) if mixed else None


def write_history(folder: Path, history: History) -> None:
    """Write history.json."""
    write_text(folder / NAME, json.dumps(history.model_dump(mode="json"), indent=1) + "\n")


def read_history(folder: Path) -> History | None:
    """Read history.json; None where there is none, or none that this version wrote."""
    try:
        return History.model_validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError):
        return None
