# SPDX-License-Identifier: Apache-2.0
"""What an assessment works on, opened once: images, models, defences, fitted detectors and what attacks need."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from radproof.assess import taught
from radproof.assess.aids import Aids, check_builds, gather
from radproof.assess.contenders import Contender, Front, in_front
from radproof.assess.jobs import Parts
from radproof.assess.networks import Network, Opener, Surrogate
from radproof.assess.parts import settle_all
from radproof.assess.plan import Plan
from radproof.assess.replay import Replay
from radproof.assess.sections import DataPlan
from radproof.assess.severities import spread
from radproof.assess.watching import Watching, enough, one_grid, teach_detectors
from radproof.attacks import attack, corruption
from radproof.attacks.memory import fitting_micro_batch
from radproof.core.depth import Depth
from radproof.core.goals import goal as make_goal
from radproof.core.goals import scope
from radproof.core.names import nearest
from radproof.core.progress import Progress
from radproof.core.rng import generator
from radproof.core.types import Attack, Classifier
from radproof.data.damaged import Damage, refuse
from radproof.data.load import grids, load_batch, partition
from radproof.data.manifest import Manifest
from radproof.data.sources import open_data
from radproof.data.storage import check_budget
from radproof.data.subsets import take
from radproof.defenses import defense
from radproof.detectors import detector
from radproof.detectors.feature_space import FeatureSpace
from radproof.errors import BadInput, BadPlan
from radproof.models.black_box import BlackBox
from radproof.models.card import ModelCard
from radproof.models.classifier import ImageClassifier
from radproof.training.denoiser_images import make_attack


@dataclass
class Material:
    """Everything opened. Images are read a batch at a time, so memory does not grow with the data set."""

    plan: Plan
    parts: Parts
    manifest: Manifest  # every fold
    test: Manifest  # the images to assess
    depths: tuple[Depth, ...]  # of each test image; one batch has one depth
    batches: tuple[tuple[int, ...], ...]
    y: Tensor
    device: torch.device
    model: Network
    card: ModelCard
    fingerprint: str  # of the model
    aids: Aids
    surrogates: dict[str, Surrogate] = field(default_factory=dict[str, Surrogate])
    contenders: dict[str, Contender] = field(default_factory=dict[str, Contender])  # what answers in the model's place
    detectors: dict[str, Watching] = field(default_factory=dict[str, Watching])
    features: FeatureSpace | None = None  # of clean images, for an attack that stays among them
    training: dict[str, object] | None = None
    learned: dict[str, Attack] = field(default_factory=dict[str, Attack])  # job key -> what was learnt once
    problem: str = ""  # what labelled images say against the model's card
    untaught: str = ""  # why no detector could be taught, where none had to be
    replay: Replay | None = None  # images made earlier, to score instead of attacking

    @property
    def targets(self) -> dict[str, Classifier]:
        """The networks of the transfer matrix that images are tried on: the model and every single surrogate."""
        single = {name: s.classifier for name, s in self.surrogates.items() if self.plan.surrogates[name].of is None}
        return {"model": self.model, **single} if self.surrogates else {}

    def first_batches(self, images: int | None) -> range:
        """The whole batches that hold the first so many test images; None: all."""
        total = 0
        for number, batch in enumerate(self.batches):
            total += len(batch)
            if images is not None and total >= images:
                return range(number + 1)
        return range(len(self.batches))

    def watched(self, detector: str) -> set[int]:
        """The test images that aware attacks are made of; none where the detector promises nothing to be under."""
        if self.detectors[detector].watch is None:
            return set()
        return {row for n in self.first_batches(self.plan.detection.aware_images) for row in self.batches[n]}

    def images(self, rows: Sequence[int]) -> Tensor:
        """(N, C, H, W) stored images of one batch, on the device."""
        return load_batch(self.test, [self.test.samples[row] for row in rows], self.device)


def check_parts(plan: Plan) -> Parts:
    """Every part of the plan checked before anything is opened or written."""
    _check_denoisers(plan)
    return Parts(
        attacks=settle_all(plan.attacks, attack, plan.preset),
        adaptive=settle_all(plan.adaptive, attack, plan.preset) if plan.defenses or plan.hardened else {},
        corruptions=settle_all(spread(plan.corruptions), corruption, plan.preset),
        defenses=settle_all(plan.defenses, defense, plan.preset),
        behind={name: settle_all(wanted.behind, defense, plan.preset) for name, wanted in plan.hardened.items()},
        detectors=settle_all(plan.detectors, detector, plan.preset),
        aware=settle_all(plan.detection.aware, attack, plan.preset),
        learned=settle_all(plan.detection.learned.attacks if plan.detection.learned else (), attack, plan.preset),
    )


def _check_denoisers(plan: Plan) -> None:
    for wanted in plan.hardened.values():
        if wanted.denoiser is not None:
            make_attack(wanted.denoiser, wanted.denoiser.eps)


def open_manifest(data: DataPlan, cache: Path, progress: Progress, *, damaged: Damage = refuse) -> Manifest:
    """The data set, split; `damaged` as in data.foreign."""
    return open_data(
        data.kind,
        None if data.path is None else Path(data.path),
        classes=data.classes,
        multi_label=data.multi_label,
        split=data.split,
        size=data.size,
        window=data.window,
        count=data.count,
        seed=data.seed,
        balance=data.balance,
        inflate=data.inflate,
        patients=None if data.patients is None else Path(data.patients),
        labels=None if data.labels is None else Path(data.labels),
        label_tag=data.label_tag,
        voi=data.voi,
        axis=data.axis,
        slices=data.slices,
        damaged=damaged,
        cache=cache,
        progress=progress,
    )


def open_material(
    plan: Plan,
    parts: Parts,
    root: Path,
    device: torch.device,
    progress: Progress,
    *,
    known: Callable[[Manifest, int], None] | None = None,
) -> Material:
    """Open data and model (training it first where the plan says so); raises BadInput for what cannot be used.

    `known` is told of the data, and how many images of them are assessed, before any network is opened.
    """
    manifest = open_manifest(plan.data, root / "data", progress)
    test = _chosen(plan, manifest)
    stored = grids(test.samples, test.root, progress=progress)
    depths = tuple(grid[-1] for grid in stored)
    _check_budgets(plan, min(depths))
    _check_aware(plan, parts)
    _check_learned(plan, parts)
    y = torch.as_tensor(test.targets()).to(device)
    _check_goals(plan, y, manifest)
    _check_names(plan, parts)
    aids = gather(manifest, test, seed=plan.seed, device=device)
    check_builds((*parts.attacks.values(), *parts.adaptive.values(), *parts.learned.values()), aids)
    check_builds(parts.aware.values(), aids, watch=None, features=None)
    in_front_of_model = {label: in_front({label: part}) for label, part in parts.defenses.items()}
    if known is not None:
        known(manifest, len(test))
    opener = Opener(manifest, root, device, progress)
    surrogates = opener.surrogates(plan.surrogates)
    model = opener.model(plan.model)
    hardened = opener.hardened(plan.hardened, model)
    denoisers = {
        name: opener.denoiser(name, wanted.denoiser, hardened[name])
        for name, wanted in plan.hardened.items()
        if wanted.denoiser is not None
    }
    own = Surrogate(model.network, model.card.architecture, model.network.fingerprint())
    material = Material(
        plan=plan,
        parts=parts,
        manifest=manifest,
        test=test,
        depths=depths,
        batches=partition(stored, plan.batch),
        y=y,
        device=device,
        model=model.network,
        card=model.card,
        fingerprint=own.fingerprint,
        aids=aids,
        surrogates=surrogates,
        contenders={
            **{label: _contender(own, front) for label, front in in_front_of_model.items()},
            **{
                name: _contender(other, in_front(parts.behind[name], denoisers.get(name)))
                for name, other in hardened.items()
            },
        },
        training=model.training,
        problem=model.problem,
    )
    _fit_into_memory(material)
    return material


def _check_budgets(plan: Plan, depth: Depth) -> None:
    """Budgets that no stored image can hold are refused before anything is trained."""
    for eps in (*plan.budgets, *((plan.searched.most,) if plan.searched else ())):
        check_budget(eps, depth)


def _check_aware(plan: Plan, parts: Parts) -> None:
    for label, part in parts.aware.items():
        if not {"watch", "features"} & set(part.recipe.needs.values()):
            raise BadPlan(f"{label} knows nothing of detectors; put it under attacks:, and one that does under aware:")
    for name in plan.detection.against or ():
        if name not in parts.detectors:
            raise BadPlan(f"aware attacks are to be made against {name!r}{nearest(name, list(parts.detectors))}")
    if parts.aware and not parts.detectors:
        raise BadPlan("detection: has aware attacks and the plan has no detectors: to be aware of; name one")


def _check_learned(plan: Plan, parts: Parts) -> None:
    if parts.learned and parts.detectors and plan.data.fold == "validation":
        raise BadPlan(
            "detection.learned uses validation patients, which this plan assesses; "
            "leave it out, or assess the test fold"
        )
    for label, part in parts.learned.items():
        if part.params.get("where") == "anatomy":
            raise BadPlan(f"{label}: where lungs and heart are is not known in detection.learned; choose another where")


def _check_goals(plan: Plan, y: Tensor, manifest: Manifest) -> None:
    for name in plan.goals:
        make_goal(name, y, manifest.labels, manifest.head)
        if not bool(scope(name, y, manifest.labels).any()):
            raise BadPlan(
                f"the goal {name} concerns none of the {len(y)} images to assess; drop it or take more images"
            )


def fit_detectors(material: Material, work: Path, progress: Progress) -> None:
    """Teach the plan's detectors on clean training images and set their thresholds on clean validation images.

    What they learnt is kept in the folder `work`, and read back by a later start.
    """
    plan, parts = material.plan, material.parts
    if not parts.detectors:
        return
    train, calibration = _to_learn_from(material)
    try:
        one_grid(train, calibration, material.test)
        material.detectors = _taught(material, train, calibration, work / taught.NAME, progress)
    except BadInput as error:
        if plan.detection.required:
            raise
        material.untaught = str(error)
        progress.note(f"no detector was taught: {error}")
        return
    if any("features" in part.recipe.needs.values() for part in parts.aware.values()):
        some = enough(train, plan.detection.images, plan.seed)
        material.features = FeatureSpace.of(material.model, load_batch(some, some.samples, material.device))


def _taught(
    material: Material, train: Manifest, calibration: Manifest, kept: Path, progress: Progress
) -> dict[str, Watching]:
    """As an earlier start left them, else taught and kept."""
    plan = material.plan
    learners = {label: part.make() for label, part in material.parts.detectors.items()}
    found = taught.read(kept, learners, material.model) or teach_detectors(
        learners,
        material.model,
        plan.detection,
        train,
        calibration,
        rate=plan.false_positive_rate,
        seed=plan.seed,
        device=material.device,
        progress=progress,
    )
    if not kept.is_file():
        taught.keep(kept, found)
    return found


def _to_learn_from(material: Material) -> tuple[Manifest, Manifest]:
    """Images to learn the usual from, and others, of other patients, to set thresholds on."""
    train = material.manifest.fold("train")
    if material.plan.data.fold != "validation":
        return train, material.manifest.fold("validation")
    patients = sorted({sample.patient or sample.id for sample in train.samples})  # validation patients are assessed
    half = set(patients[::2])
    first, second = (
        train.only(s for s in train.samples if ((s.patient or s.id) in half) is own) for own in (True, False)
    )
    return first, second


def _chosen(plan: Plan, manifest: Manifest) -> Manifest:
    test = manifest.fold(plan.data.fold)
    return test if plan.data.images is None else take(test, plan.data.images, seed=plan.data.seed)


def _contender(network: Surrogate, front: Front) -> Contender:
    return Contender(network.classifier, network.fingerprint, network.architecture, *front)


def _check_names(plan: Plan, parts: Parts) -> None:
    for kind, names in (("surrogate", plan.surrogates), ("hardened network", plan.hardened)):
        for name in names:
            if name in parts.defenses:
                raise BadPlan(f"a {kind} and a defence are both called {name}; call the {kind} something else")
    both = [name for name in plan.hardened if name in plan.surrogates]
    if both:
        raise BadPlan(f"a surrogate and a hardened network are both called {both[0]}; call one something else")


def _fit_into_memory(material: Material) -> None:
    """The micro-batch of every network: the plan's, or what the activations of one image leave room for."""
    x = max((material.images(batch[:1]) for batch in material.batches), key=lambda image: image.numel())
    wanted = material.plan.micro_batch
    fitted: set[int] = set()  # several contenders may share a network
    for network in (material.model, *material.targets.values(), *(c.network for c in material.contenders.values())):
        if isinstance(network, ImageClassifier | BlackBox) and id(network) not in fitted:
            if wanted != "auto":
                network.micro_batch = wanted
            elif isinstance(network, ImageClassifier):
                network.micro_batch = fitting_micro_batch(network, x)
            fitted.add(id(network))


def batch_generator(material: Material, *parts: object) -> torch.Generator:
    """The generator of one batch, seeded by the plan and the parts that name the batch."""
    return generator(material.plan.seed, *parts, device=material.device)
