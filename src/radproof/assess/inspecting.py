# SPDX-License-Identifier: Apache-2.0
"""What a model is, before anything attacks it: its card, its answers, and whether images reach it as it learnt them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radproof.assess.conventions import trials, untested
from radproof.assess.data_set import open_manifest
from radproof.assess.doubts_origin import overstated
from radproof.assess.networks import Network, Opener
from radproof.assess.reading import of_data, of_model
from radproof.assess.sections import DataPlan, ModelPlan
from radproof.assess.sheltered import call, said
from radproof.core.device import resolve
from radproof.core.guard import inside
from radproof.core.progress import SILENT, Progress
from radproof.core.records import Estimate, Record
from radproof.data.load import load_images
from radproof.data.manifest import Manifest
from radproof.measure.classification import answers
from radproof.measure.intervals import Resampler
from radproof.models.classifier import ImageClassifier, resize
from radproof.models.conventions import Trial, card_line, likelier
from radproof.models.opening import is_own
from radproof.models.preflight import preflight

IMAGES = 200  # that the stated accuracy is checked on
_LOOKED_AT = 8  # by the light checks


class Tried(Record):
    """One convention on labelled images outside the test fold."""

    convention: str
    accuracy: float
    log_likelihood: float
    images: int


class Inspection(Record):
    """What was found; `problems` is empty where nothing speaks against an assessment."""

    card: dict[str, Any]
    line: str = ""  # the same on one line of YAML, as it can be saved beside the file
    guard: tuple[str, ...] = ()  # how well the file was guarded
    accuracy: Estimate
    problems: tuple[str, ...]
    tried: tuple[Tried, ...]
    likely: str = ""  # a card on one line, where another than the assumed one is clearly likelier


def inspect(model: ModelPlan, data: DataPlan, cache: Path, device: str, progress: Progress = SILENT) -> Inspection:
    """Open a model and try it on labelled images. Raises BadModel for what cannot be used at all."""
    where = resolve(device)
    manifest = open_manifest(data, cache, progress)
    opened = Opener(manifest, cache, where, progress).opened(model)
    network, card = opened.network, opened.card
    some = untested(manifest, IMAGES)
    first = manifest.only(some.samples[:_LOOKED_AT])
    doubts = preflight(network, *_batch(network, first, where), manifest.labels, manifest.head)
    accuracy = _accuracy(network, some, where)
    problems = [doubt.message for doubt in doubts]
    problems += [told] if (told := overstated(card, accuracy)) else []
    tried, likely = (), ""
    if isinstance(network, ImageClassifier):
        tried = trials(network, manifest)
        better = likelier(tried)
        if better is not None:
            likely = card_line(better.card(card, network.labels))
            problems.append(
                f"images are likely shown wrongly, or classes misnamed: {better.name} is clearly likelier than what is "
                "assumed"
            )
    return Inspection(
        card=card.model_dump(mode="json", exclude_defaults=True),
        line=card_line(card),
        accuracy=accuracy,
        problems=tuple(problems),
        tried=tuple(_row(one) for one in tried),
        likely=likely,
    )


def task(
    model: Mapping[str, Any], data: Mapping[str, Any], cache: str, device: str, progress: Progress = SILENT
) -> dict[str, Any]:
    """What the guarded process does."""
    told = ModelPlan.model_validate(model), DataPlan.model_validate(data)
    return inspect(*told, Path(cache), device, progress).model_dump(mode="json")


def _batch(network: Network, some: Manifest, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images at the size that the network sees, and what they show."""
    loaded, told = load_images(some.samples, some.root).images, network.blueprint
    x = torch.cat([resize(image[None], told.size, told.resize).clamp(0, 1) for image in loaded])
    return x.to(device), torch.as_tensor(some.targets()).to(device)


@torch.no_grad()
def _accuracy(network: Network, some: Manifest, device: torch.device) -> Estimate:
    """A few images at a time, as large ones do not all fit into memory."""
    right: list[NDArray[np.float64]] = []
    for start in range(0, len(some), network.micro_batch):
        x, y = _batch(network, some.only(some.samples[start : start + network.micro_batch]), device)
        said, truth = answers(network(x).double().cpu(), some.head), y.cpu().numpy()
        right.append((said == truth).astype(float) if some.head == "softmax" else (said == (truth > 0.5)).mean(1))
    return Resampler([sample.patient or sample.id for sample in some.samples]).mean(np.concatenate(right))


def _row(trial: Trial) -> Tried:
    likelihood = trial.likelihood if trial.likelihood > -1e9 else -1e9
    return Tried(
        convention=trial.name,
        accuracy=round(trial.accuracy, 4),
        log_likelihood=round(likelihood, 4),
        images=len(trial.likelihoods),
    )


def inspected(model: ModelPlan, data: DataPlan, cache: Path, device: str, progress: Progress = SILENT) -> Inspection:
    """The same in a guarded process where the file is a stranger's."""
    path = None if model.path is None else Path(model.path)
    if path is None or is_own(path) or inside():
        return inspect(model, data, cache, device, progress)
    done = call(
        "radproof.assess.inspecting:task",
        {
            "model": model.model_dump(mode="json"),
            "data": data.model_dump(mode="json"),
            "cache": str(cache.resolve()),
            "device": device,
        },
        read=[*of_model(path), *of_data(data), *([Path(model.card)] if model.card else [])],
        write=[cache],
        progress=progress,
    )
    return said(Inspection, done.value).model_copy(update={"guard": done.level})
