# SPDX-License-Identifier: Apache-2.0
"""What a model is, before anything attacks it: its card, its answers, and whether images reach it as it learnt them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radproof.assess.conventions import trials
from radproof.assess.material import open_manifest
from radproof.assess.networks import Network, Opener
from radproof.assess.sections import DataPlan, ModelPlan
from radproof.assess.sheltered import data_roots, folder_of
from radproof.core.device import resolve
from radproof.core.guard import Limits, guarded, inside
from radproof.core.progress import SILENT, Progress
from radproof.core.records import Estimate, Record
from radproof.data.load import load_images
from radproof.data.manifest import Manifest
from radproof.data.subsets import take
from radproof.measure.intervals import Resampler
from radproof.models.classifier import ImageClassifier, resize
from radproof.models.conventions import Trial, likelier, reordered
from radproof.models.opening import is_own
from radproof.models.preflight import preflight

IMAGES = 200  # that the stated accuracy is checked on
_FEWEST = 8


class Tried(Record):
    """One convention on labelled images outside the test fold."""

    convention: str
    accuracy: float
    log_likelihood: float
    images: int


class Inspection(Record):
    """What was found; `problems` is empty where nothing speaks against an assessment."""

    card: dict[str, Any]
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
    some = _shown(manifest)
    x, y = _batch(opened.network, some, where)
    doubts = preflight(opened.network, x, y, manifest.labels, manifest.head)
    accuracy = _accuracy(opened.network, some, x, y)
    problems = [doubt.message for doubt in doubts]
    stated = opened.card.metrics.get("accuracy")
    if stated is not None and accuracy.high is not None and stated > accuracy.high:
        problems.append(
            f"its card states an accuracy of {100 * stated:.0f} %; on {accuracy.n} labelled images it is at most "
            f"{100 * accuracy.high:.0f} %"
        )
    tried, likely = (), ""
    if isinstance(opened.network, ImageClassifier):
        tried, order = trials(opened.network, manifest)
        likely, problem = _likely(tried, order)
        problems += [problem] if problem else []
    return Inspection(
        card=opened.card.model_dump(mode="json", exclude_defaults=True),
        accuracy=accuracy,
        problems=tuple(problems),
        tried=tuple(_row(one) for one in tried),
        likely=likely,
    )


def _likely(tried: Sequence[Trial], order: Sequence[str] | None) -> tuple[str, str]:
    """The card that the images speak for, and why it is not the assumed one; empty where it is."""
    better = likelier(tried)
    if better is not None:
        return better.card(), f"images are likely shown wrongly: {better.name} is clearly likelier than what is assumed"
    if order is not None:
        return reordered(tried[0], order).card(), f"the classes likely come in another order: {', '.join(order)}"
    return "", ""


def task(
    model: Mapping[str, Any], data: Mapping[str, Any], cache: str, device: str, progress: Progress = SILENT
) -> dict[str, Any]:
    """What the guarded process does."""
    told = ModelPlan.model_validate(model), DataPlan.model_validate(data)
    return inspect(*told, Path(cache), device, progress).model_dump(mode="json")


def _shown(manifest: Manifest) -> Manifest:
    """Labelled images that are not of the test fold, where there are enough others."""
    others = manifest.only(sample for sample in manifest.samples if sample.fold != "test")
    return take(others if len(others) >= _FEWEST else manifest, IMAGES)


def _batch(network: Network, some: Manifest, device: torch.device) -> tuple[Tensor, Tensor]:
    """All images at the size that the network sees."""
    loaded, told = load_images(some.samples, some.root).images, network.blueprint
    x = torch.cat([resize(image[None], told.size, told.resize).clamp(0, 1) for image in loaded])
    return x.to(device), torch.as_tensor(some.targets()).to(device)


@torch.no_grad()
def _accuracy(network: Network, some: Manifest, x: Tensor, y: Tensor) -> Estimate:
    logits = torch.cat([network(piece) for piece in x.split(network.micro_batch)])
    right = logits.argmax(1) == y if some.head == "softmax" else ((logits > 0) == (y > 0.5)).all(1)
    resampler = Resampler([sample.patient or sample.id for sample in some.samples])
    return resampler.mean(right.cpu().numpy())


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
    told = [Path(one) for one in (model.card, data.labels, data.patients) if one]
    done = guarded(
        "radproof.assess.inspecting:task",
        {
            "model": model.model_dump(mode="json"),
            "data": data.model_dump(mode="json"),
            "cache": str(cache.resolve()),
            "device": device,
        },
        read=[folder_of(path), *(folder_of(one) for one in data_roots(data)), *told],
        write=[cache],
        limits=Limits(cpu=None, wall=None),
        progress=progress,
    )
    return Inspection.model_validate({**done.value, "guard": list(done.level)})
