# SPDX-License-Identifier: Apache-2.0
"""What an assessment works on, opened once: images, models, defences, fitted detectors and what attacks need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.assess.baselines import card_shortcuts
from radproof.assess.jobs import Parts
from radproof.assess.parts import settle_all
from radproof.assess.plan import DataPlan, Plan
from radproof.assess.replay import Replay
from radproof.attacks import attack, corruption
from radproof.attacks.pool import Pool
from radproof.core.goals import goal as make_goal
from radproof.core.goals import scope
from radproof.core.progress import Progress
from radproof.core.rng import generator
from radproof.core.types import Defense, FittedDetector
from radproof.data.load import grids, load_images, partition
from radproof.data.manifest import Manifest, Sample
from radproof.data.sources import open_data
from radproof.data.storage import check_budget
from radproof.data.subsets import take
from radproof.defenses import defense
from radproof.detectors import detector
from radproof.detectors.calibrate import Threshold, calibrate
from radproof.errors import BadData, BadModel, BadPlan
from radproof.models.card import ModelCard, load_model
from radproof.models.classifier import ImageClassifier
from radproof.training.loop import train

AIDS = 64  # training images that attacks may mix with or borrow a style from
FITTED = 250  # training images that a detector learns the usual from


@dataclass
class Material:
    """Everything opened. Images are read a batch at a time, so memory does not grow with the data set."""

    plan: Plan
    parts: Parts
    manifest: Manifest  # every fold
    test: Manifest  # the images to assess
    bits: tuple[int, ...]  # of each test image; one batch has one depth
    batches: tuple[tuple[int, ...], ...]
    y: Tensor
    device: torch.device
    model: ImageClassifier
    card: ModelCard
    fingerprint: str  # of the model
    surrogate: ImageClassifier | None = None
    defenses: dict[str, Defense] = field(default_factory=dict[str, Defense])
    detectors: dict[str, FittedDetector] = field(default_factory=dict[str, FittedDetector])
    thresholds: dict[str, Threshold] = field(default_factory=dict[str, Threshold])
    pool: Pool | None = None
    bank: Tensor | None = None
    training: dict[str, object] | None = None
    replay: Replay | None = None  # images made earlier, to score instead of attacking

    def images(self, rows: Sequence[int]) -> Tensor:
        """(N, C, H, W) stored images of one batch, on the device."""
        return load_batch(self.test, [self.test.samples[row] for row in rows], self.device)


def load_batch(manifest: Manifest, samples: Sequence[Sample], device: torch.device) -> Tensor:
    """Images of one size as a batch."""
    return torch.stack(load_images(samples, manifest.root).images).to(device)


def check_parts(plan: Plan) -> Parts:
    """Every part of the plan checked before anything is opened or written."""
    return Parts(
        attacks=settle_all(plan.attacks, attack, plan.preset),
        adaptive=settle_all(plan.adaptive, attack, plan.preset) if plan.defenses else {},
        corruptions=settle_all(plan.corruptions, corruption, plan.preset),
        defenses=settle_all(plan.defenses, defense, plan.preset),
        detectors=settle_all(plan.detectors, detector, plan.preset),
    )


def open_manifest(data: DataPlan, cache: Path, progress: Progress) -> Manifest:
    """The data set, split."""
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
        patients=None if data.patients is None else Path(data.patients),
        cache=cache,
        progress=progress,
    )


def open_material(plan: Plan, parts: Parts, root: Path, device: torch.device, progress: Progress) -> Material:
    """Open data and model (training it first where the plan says so); raises BadInput for what cannot be used."""
    manifest = open_manifest(plan.data, root / "data", progress)
    test = _chosen(plan, manifest)
    stored = grids(test.samples, test.root, progress=progress)
    bits = tuple(grid[-1] for grid in stored)
    _check_budgets(plan, min(bits))
    y = torch.as_tensor(test.targets()).to(device)
    _check_goals(plan, y, manifest)
    surrogate = _surrogate(plan, manifest, device)
    model, card, training = _model(plan, manifest, root, device, progress)
    model.micro_batch = plan.micro_batch
    material = Material(
        plan=plan,
        parts=parts,
        manifest=manifest,
        test=test,
        bits=bits,
        batches=partition(stored, plan.batch),
        y=y,
        device=device,
        model=model,
        card=card,
        fingerprint=model.fingerprint(),
        surrogate=surrogate,
        defenses={label: part.make() for label, part in parts.defenses.items()},
        training=training,
    )
    _aids(material)
    return material


def _check_budgets(plan: Plan, bits: int) -> None:
    """Budgets that no stored image can hold are refused before anything is trained."""
    for eps in (*plan.budgets, *((plan.smallest.most,) if plan.smallest else ())):
        check_budget(eps, bits)


def _check_goals(plan: Plan, y: Tensor, manifest: Manifest) -> None:
    for name in plan.goals:
        make_goal(name, y, manifest.labels, manifest.head)
        if not bool(scope(name, y, manifest.labels).any()):
            raise BadPlan(
                f"the goal {name} concerns none of the {len(y)} images to assess; drop it or take more images"
            )


def fit_detectors(material: Material, progress: Progress) -> None:
    """Fit each detector on clean training images and set its threshold on clean validation images."""
    plan = material.plan
    settled = material.parts.detectors
    if not settled:
        return
    fitted_on = take(material.manifest.fold("train"), FITTED, seed=plan.seed)
    calibration = material.manifest.fold("validation")
    one_grid(fitted_on, calibration, material.test)
    progress.start("detectors", len(settled) * (len(fitted_on) + len(calibration)))
    for label, part in settled.items():
        fitted = part.make().fit(material.model, load_batch(fitted_on, fitted_on.samples, material.device))
        progress.advance("detectors", len(fitted_on))
        scores = fitted.score(load_batch(calibration, calibration.samples, material.device))
        progress.advance("detectors", len(calibration))
        material.detectors[label] = fitted
        material.thresholds[label] = calibrate(scores, false_positive_rate=plan.false_positive_rate)


def one_grid(*manifests: Manifest) -> None:
    """Detectors compare grain, so what they learn from and judge must share one size. Raises BadData where not."""
    found = {grid[:3] for manifest in manifests for grid in grids(manifest.samples, manifest.root)}
    if len(found) > 1:
        raise BadData(
            f"detectors need images of one size, and these have {len(found)}; import them with a size first "
            "(`radproof data import --size`, or `size:` under `data:` in a plan), or leave out the detectors"
        )


def _alike(manifest: Manifest, shape: torch.Size, device: torch.device) -> Tensor:
    """Images of a manifest resampled to one (C, H, W) shape: aids, never scored themselves."""
    rows: list[Tensor] = []
    for sample in manifest.samples:
        x = load_batch(manifest, [sample], device)
        if x.shape[1] != shape[1]:
            x = x.mean(1, keepdim=True).expand(-1, shape[1], -1, -1)
        if x.shape[2:] != shape[2:]:
            x = F.interpolate(x, size=shape[2:], mode="bilinear", antialias=True).clamp(0, 1)
        rows.append(x)
    return torch.cat(rows)


def _some(manifest: Manifest, fold: str, most: int, seed: int) -> Manifest:
    """A seeded part of a fold; other folds stand in where a data set has only test images."""
    there = {sample.fold for sample in manifest.samples}
    chosen = next(name for name in (fold, "validation", "test") if name in there)
    return take(manifest.fold(chosen), most, seed=seed)


def _chosen(plan: Plan, manifest: Manifest) -> Manifest:
    test = manifest.fold("test")
    return test if plan.data.images is None else take(test, plan.data.images, seed=plan.data.seed)


def _check_classes(card: ModelCard, manifest: Manifest) -> None:
    if tuple(card.labels) != tuple(manifest.labels) or card.head != manifest.head:
        raise BadModel(
            f"the model answers {', '.join(card.labels)} ({card.head}), the data are labelled "
            f"{', '.join(manifest.labels)} ({manifest.head}); choose the same classes in the same order"
        )


def _model(
    plan: Plan, manifest: Manifest, root: Path, device: torch.device, progress: Progress
) -> tuple[ImageClassifier, ModelCard, dict[str, object] | None]:
    if plan.model.path:
        model, card = load_model(Path(plan.model.path), device)
        _check_classes(card, manifest)
        return model, card, None
    recipe = plan.model.train
    assert recipe is not None
    folds = {name: manifest.fold(name) for name in ("train", "validation")}
    trained = train(
        recipe,
        *_tensors(folds["train"]),
        *_tensors(folds["validation"]),
        labels=manifest.labels,
        head=manifest.head,
        device=device,
        folder=root / "model",
        progress=progress,
        facts=training_facts(manifest),
    )
    return trained.model, trained.card, {"history": [epoch.model_dump(mode="json") for epoch in trained.history]}


def training_facts(manifest: Manifest) -> dict[str, object]:
    """What a model card says of the data it was trained on."""
    return {
        "shortcuts": card_shortcuts(manifest),
        "data": manifest.describe(),
        "data_fingerprint": manifest.fingerprint(),
        "phantom": manifest.source.get("kind") == "phantom",
    }


def _tensors(manifest: Manifest) -> tuple[list[Tensor], Tensor]:
    return list(load_images(manifest.samples, manifest.root).images), torch.as_tensor(manifest.targets())


def _surrogate(plan: Plan, manifest: Manifest, device: torch.device) -> ImageClassifier | None:
    if plan.surrogate is None:
        return None
    model, card = load_model(Path(plan.surrogate), device)
    _check_classes(card, manifest)
    model.micro_batch = plan.micro_batch
    return model


def _aids(material: Material) -> None:
    """Training images for attacks that mix or borrow a style: never test images where there are others."""
    attacks = (*material.parts.attacks.values(), *material.parts.adaptive.values())
    if not any(part.recipe.needs for part in attacks):
        return
    some = _some(material.manifest, "train", AIDS, material.plan.seed)
    material.bank = _alike(some, material.images(material.batches[0][:1]).shape, material.device)
    material.pool = Pool(material.bank, torch.as_tensor(some.targets()).to(material.device))


def bindings(material: Material, needs: Mapping[str, str]) -> dict[str, object]:
    """What a recipe's needs (argument -> what) are bound to. Raises BadPlan for a need that nobody can supply."""
    offered = {"pool": material.pool, "bank": material.bank}
    for argument, what in needs.items():
        if what not in offered:
            raise BadPlan(f"an attack needs {what!r} for {argument!r}; what can be had is {', '.join(offered)}")
    return {argument: offered[what] for argument, what in needs.items()}


def batch_generator(material: Material, *parts: object) -> torch.Generator:
    """The generator of one batch, seeded by the plan and the parts that name the batch."""
    return generator(material.plan.seed, *parts, device=material.device)
