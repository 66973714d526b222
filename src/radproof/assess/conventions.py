# SPDX-License-Identifier: Apache-2.0
"""A stranger's model is tried with the usual conventions on images that are not assessed, before anything is."""

import torch

from radproof.data.load import load_images
from radproof.data.manifest import Manifest
from radproof.data.subsets import take
from radproof.errors import BadModel
from radproof.models.card import ModelCard
from radproof.models.classifier import ImageClassifier
from radproof.models.conventions import FEWEST, Trial, card_line, likelier, try_conventions, undecided

IMAGES, MORE = 64, 256  # where the first do not decide


def trials(model: ImageClassifier, manifest: Manifest) -> tuple[Trial, ...]:
    """Every convention on some labelled images: the model's own first, then the likeliest."""
    some = untested(manifest, IMAGES)
    tried = _tried(model, some)
    more = untested(manifest, MORE)
    return _tried(model, more) if len(more) > len(some) and undecided(tried) else tried


def insist(model: ImageClassifier, card: ModelCard, manifest: Manifest, *, stated: bool) -> str:
    """What images that clearly speak against the card say: its user's, where `stated`, else BadModel is raised.

    The sentence holds the likely right card on one line; it is empty where nothing speaks against the one in use.
    """
    tried = trials(model, manifest)
    better, file = likelier(tried), card.file or "the model"
    if better is None:
        return ""
    assumed, images = tried[0], len(tried[0].likelihoods)
    wrong = "is likely shown its images wrongly"
    if better.blueprint.labels != assumed.blueprint.labels:
        wrong = f"likely has its classes in another order than {', '.join(model.labels)}"
    beside = f"save it beside the file as {file.rpartition('.')[0]}.card.yaml, or give it by --card FILE"
    shown = "its card says" if stated else "assumed"
    said = (
        f"{file} {wrong}: as {shown} it is right about {100 * assumed.accuracy:.0f} % of {images} labelled images, "
        f"with {better.name} about {100 * better.accuracy:.0f} %. The likely right card, on one line: "
        f"{card_line(better.card(card, model.labels))}"
    )
    if stated:
        return said
    raise BadModel(f"{said} ; {beside}")


def _tried(model: ImageClassifier, some: Manifest) -> tuple[Trial, ...]:
    loaded, y = load_images(some.samples, some.root).images, torch.as_tensor(some.targets())
    return try_conventions(model, loaded, y)


def untested(manifest: Manifest, most: int) -> Manifest:
    """Labelled images that are not of the test fold, where there are enough others."""
    others = manifest.only(sample for sample in manifest.samples if sample.fold != "test")
    return take(others if len(others) >= FEWEST else manifest, most)
