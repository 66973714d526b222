# SPDX-License-Identifier: Apache-2.0
"""A stranger's model is tried with the usual conventions on images that are not assessed, before anything is."""

import torch

from radproof.data.load import load_images
from radproof.data.manifest import Manifest
from radproof.data.subsets import take
from radproof.errors import BadModel
from radproof.models.card import ModelCard
from radproof.models.classifier import ImageClassifier
from radproof.models.conventions import Trial, likelier, likelier_order, reordered, try_conventions

IMAGES = 64


def trials(model: ImageClassifier, manifest: Manifest) -> tuple[tuple[Trial, ...], tuple[str, ...] | None]:
    """Every convention on some labelled images, and the order of classes where another than the model's is likelier."""
    some = _some(manifest)
    loaded, y = load_images(some.samples, some.root).images, torch.as_tensor(some.targets())
    return try_conventions(model, loaded, y), likelier_order(model, loaded, y)


def insist(model: ImageClassifier, card: ModelCard, manifest: Manifest) -> None:
    """Raise BadModel with the likely right card where these images clearly speak against the one assumed."""
    tried, order = trials(model, manifest)
    better, file = likelier(tried), card.file or "the model"
    beside = f"save it beside the file as {file.rpartition('.')[0]}.card.yaml, or give it by --card FILE"
    if better is not None:
        raise BadModel(
            f"{file} is likely shown its images wrongly: as assumed it is right about {100 * tried[0].accuracy:.0f} % "
            f"of {len(tried[0].likelihoods)} labelled images, with {better.name} about {100 * better.accuracy:.0f} %. "
            f"The likely right card, on one line: {better.card()} ; {beside}"
        )
    if order is not None:
        mended = reordered(tried[0], order)
        raise BadModel(
            f"{file} likely has its classes in another order than {', '.join(model.labels)}: its answers fit "
            f"{', '.join(order)}. The likely right card, on one line: {mended.card()} ; {beside}"
        )


def _some(manifest: Manifest) -> Manifest:
    """Labelled images that are not of the test fold."""
    there = {sample.fold for sample in manifest.samples}
    fold = next((name for name in ("validation", "train", "test") if name in there), "")
    return take(manifest.fold(fold) if fold else manifest, IMAGES)
