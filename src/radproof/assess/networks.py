# SPDX-License-Identifier: Apache-2.0
"""The networks of a plan, opened or trained: the model, surrogates to attack it from, hardened ones in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from radproof.assess.baselines import card_shortcuts
from radproof.assess.conventions import insist, untested
from radproof.assess.sections import HardenedPlan, ModelPlan, SurrogatePlan, in_order
from radproof.core.files import sha256_file
from radproof.core.progress import Progress
from radproof.core.records import digest
from radproof.core.types import Classifier
from radproof.data.load import load_images
from radproof.data.manifest import Manifest
from radproof.defenses.denoiser import Denoiser
from radproof.errors import BadModel
from radproof.models.assembly import answering, service_card
from radproof.models.average import Averaged
from radproof.models.black_box import BlackBox, endpoint, what_it_gives
from radproof.models.card import ModelCard, read_card_file
from radproof.models.classifier import ImageClassifier
from radproof.models.opening import Told, card_of, is_own, model_file, open_model
from radproof.training.denoiser import train_denoiser
from radproof.training.denoiser_recipe import DenoiserRecipe
from radproof.training.loop import train
from radproof.training.recipe import TrainingRecipe

Network = ImageClassifier | BlackBox
PROVED_ON = 8  # images that a converted file and its original are both asked about


@dataclass(frozen=True)
class Surrogate:
    """Another network, or several as one."""

    classifier: Classifier
    architecture: str
    fingerprint: str


@dataclass(frozen=True)
class Opened:
    """A single network with its card, and what its training was like where this run trained it."""

    network: Network
    card: ModelCard
    training: dict[str, object] | None = None
    problem: str = ""  # what labelled images say against the card that its user gave


@dataclass
class Opener:
    """Opens networks for one data set; what is trained here goes into `root`."""

    manifest: Manifest
    root: Path
    device: torch.device
    progress: Progress
    _folds: dict[str, tuple[list[Tensor], Tensor]] = field(default_factory=dict[str, tuple[list[Tensor], Tensor]])

    def model(self, wanted: ModelPlan) -> Opened:
        """The network to assess; a stranger's is first tried with other conventions than those assumed."""
        opened = self.opened(wanted)
        if wanted.path and not wanted.only_answers and not is_own(Path(wanted.path)):
            assert isinstance(opened.network, ImageClassifier)
            stated = card_of(model_file(Path(wanted.path)), self._told(wanted.card)) is not None
            said = insist(opened.network, opened.card, self.manifest, stated=stated)
            return replace(opened, problem=said)
        return opened

    def opened(self, wanted: ModelPlan) -> Opened:
        """The network to assess, as it is assumed to take its images."""
        if wanted.only_answers:
            return self._answering(wanted)
        told = self._told(wanted.card, wanted.architecture)
        return self._single(wanted.path, wanted.train, self.root / "model", told=told)

    def surrogates(self, plans: Mapping[str, SurrogatePlan]) -> dict[str, Surrogate]:
        """Every surrogate; ensembles last, as they are made of the others."""
        found: dict[str, Surrogate] = {}
        for name, wanted in plans.items():
            if wanted.of is None:
                opened = self._single(wanted.path, wanted.train, self.root / "surrogates" / name)
                found[name] = Surrogate(opened.network, opened.card.architecture, opened.network.fingerprint())
        for name, wanted in plans.items():
            if wanted.of is not None:
                found[name] = ensemble([found[member] for member in wanted.of], "+".join(wanted.of))
        return {name: found[name] for name in plans}

    def hardened(self, plans: Mapping[str, HardenedPlan], model: Opened) -> dict[str, Surrogate]:
        """Every network that takes the model's place, each made of, begun from or taught by others."""
        found = {"model": Surrogate(model.network, model.card.architecture, model.network.fingerprint())}
        for name in in_order(plans):
            wanted = plans[name]
            if wanted.of is not None:
                found[name] = ensemble([found[member] for member in wanted.of], "+".join(wanted.of))
            elif wanted.like is not None:
                found[name] = found[wanted.like]
            else:
                opened = self._single(
                    wanted.path,
                    wanted.train,
                    self.root / "hardened" / name,
                    start=_single_network(found, wanted.start),
                    teacher=found[wanted.teacher].classifier if wanted.teacher else None,
                )
                found[name] = Surrogate(opened.network, opened.card.architecture, opened.network.fingerprint())
        return {name: found[name] for name in plans}

    def denoiser(self, name: str, recipe: DenoiserRecipe, network: Surrogate) -> Denoiser:
        """A denoiser trained in front of a network that stays as it is."""
        return train_denoiser(
            network.classifier,
            self._fold("train")[0],
            self._fold("validation")[0],
            recipe=recipe,
            device=self.device,
            folder=self.root / "hardened" / name / "denoiser",
            progress=self.progress,
            fingerprint=network.fingerprint,
        )

    def _single(
        self,
        path: str | None,
        recipe: TrainingRecipe | None,
        folder: Path,
        *,
        start: ImageClassifier | None = None,
        teacher: Classifier | None = None,
        told: Told | None = None,
    ) -> Opened:
        """Loaded, or trained into `folder`."""
        if path:
            model, card = open_model(Path(path), self.device, told or self._told())
            _check_head(card, self.manifest)
            return Opened(answering(model, self.manifest.labels), card)
        assert recipe is not None
        trained = train(
            recipe,
            *self._fold("train"),
            *self._fold("validation"),
            labels=self.manifest.labels,
            head=self.manifest.head,
            device=self.device,
            folder=folder,
            progress=self.progress,
            facts=training_facts(self.manifest),
            start=start,
            teacher=teacher,
        )
        history = [epoch.model_dump(mode="json") for epoch in trained.history]
        return Opened(trained.model, trained.card, {"history": history})

    def _told(self, card: str | None = None, architecture: str | None = None) -> Told:
        def images() -> Sequence[Tensor]:
            some = untested(self.manifest, PROVED_ON)
            return load_images(some.samples, some.root).images

        labels, head = self.manifest.labels, self.manifest.head
        return Told(Path(card) if card else None, architecture, labels, head, images)

    def _answering(self, wanted: ModelPlan) -> Opened:
        """A network that is only asked: a service, or a file."""
        labels, head = self.manifest.labels, self.manifest.head
        card = read_card_file(Path(wanted.card)) if wanted.card else service_card(labels, head)
        _check_head(card, self.manifest)
        if card.labels != labels:
            raise BadModel(f"the card's classes are {', '.join(card.labels)}, the data's {', '.join(labels)}")
        if wanted.endpoint is not None:
            told = wanted.endpoint
            ask, gives, identity = endpoint(told.url, told.protocol, told.input), told.gives, told.url
        else:
            from radproof.models.importers.onnx import read_onnx_black_box

            assert wanted.path is not None
            ask, identity = read_onnx_black_box(Path(wanted.path)), sha256_file(Path(wanted.path))
            gives = what_it_gives(ask, card.blueprint)
        return Opened(BlackBox(ask, card.blueprint, gives=gives, identity=identity), card)

    def _fold(self, name: str) -> tuple[list[Tensor], Tensor]:
        if name not in self._folds:
            fold = self.manifest.fold(name)
            self._folds[name] = list(load_images(fold.samples, fold.root).images), torch.as_tensor(fold.targets())
        return self._folds[name]


def ensemble(members: Sequence[Surrogate], name: str) -> Surrogate:
    """Several networks as one, by their mean logits."""
    prints = digest([member.fingerprint for member in members])
    return Surrogate(Averaged([member.classifier for member in members]), name, prints)


def training_facts(manifest: Manifest) -> dict[str, object]:
    """What a model card says of the data it was trained on."""
    return {
        "shortcuts": card_shortcuts(manifest),
        "data": manifest.describe(),
        "data_fingerprint": manifest.fingerprint(),
        "phantom": manifest.source.get("kind") == "phantom",
    }


def _single_network(found: Mapping[str, Surrogate], name: str | None) -> ImageClassifier | None:
    if name is None:
        return None
    network = found[name].classifier
    if not isinstance(network, ImageClassifier):
        raise BadModel(f"training cannot begin with {name}, which is an ensemble; name one of its members under start:")
    if network.blueprint.imported:
        raise BadModel(
            f"training cannot begin with {name}, a file of another framework; give a recipe with weights: (safetensors "
            "of a timm network) instead"
        )
    return network


def _check_head(card: ModelCard, manifest: Manifest) -> None:
    if card.head != manifest.head:
        raise BadModel(
            f"the model answers {', '.join(card.labels)} ({card.head}), the data are labelled "
            f"{', '.join(manifest.labels)} ({manifest.head}); say multi_label where there are findings side by side"
        )
