# SPDX-License-Identifier: Apache-2.0
"""Training a denoiser in front of a fixed model: resumable after any epoch, the same bytes each time.

Liao et al., "Defense against Adversarial Attacks Using High-Level Representation Guided Denoiser", CVPR 2018. The loss
is the mean absolute difference between the model's logits on the denoised and on the clean image (their LGD), or
between the pixels (PGD). The attacks know nothing of the denoiser: only an adaptive one can tell what it is worth.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from radproof.core.progress import SILENT, Progress
from radproof.core.records import digest
from radproof.core.rng import generator, seed_for
from radproof.core.types import Classifier
from radproof.defenses.denoiser import (
    Agreement,
    Denoiser,
    DenoiserCard,
    DenoiserEpoch,
    denoised,
    load_denoiser,
    read_denoiser_card,
    save_denoiser,
)
from radproof.defenses.denoiser_net import Dunet
from radproof.errors import BadInput, BadModel
from radproof.training.arithmetic import repeatable
from radproof.training.balance import batches
from radproof.training.checkpoint import optimiser_tensors, restore_optimiser
from radproof.training.denoiser_images import KINDS, Pairs, make_attack, make_pairs, stacked
from radproof.training.denoiser_recipe import DenoiserRecipe
from radproof.training.denoiser_state import State, load_state, remove_state, save_state
from radproof.training.schedule import one_cycle_rate

__all__ = ["DenoiserRecipe", "train_denoiser"]

_WARM = 0.1  # share of the steps in which the rate rises


@dataclass(frozen=True)
class _Task:
    """What stays the same from the first epoch to the last."""

    recipe: DenoiserRecipe
    model: Classifier
    train: Pairs
    validation: Pairs
    device: torch.device
    progress: Progress

    def loss(self, network: Dunet, pairs: Pairs, rows: Tensor, kinds: Tensor) -> Tensor:
        """Mean absolute difference that the guide sees between clean and denoised images."""
        clean = denoised(network, pairs.seen(rows, kinds).to(self.device))
        if self.recipe.guide == "pixels":
            return (clean - pairs.clean[rows].to(self.device)).abs().mean()
        return (self.model(clean).float() - pairs.answers[rows.to(self.device)]).abs().mean()


@dataclass
class _Standing:
    """What has been reached so far."""

    network: Dunet
    optimiser: torch.optim.Optimizer
    best: dict[str, Tensor]
    history: list[DenoiserEpoch] = field(default_factory=list[DenoiserEpoch])


def train_denoiser(
    model: Classifier,
    train_images: Sequence[Tensor] | Tensor,
    validation_images: Sequence[Tensor] | Tensor,
    *,
    recipe: DenoiserRecipe,
    device: torch.device,
    folder: Path,
    progress: Progress = SILENT,
    fingerprint: str | None = None,
) -> Denoiser:
    """Train a denoiser for a fixed model on images (C, H, W) in [0, 1] of one shape, and write its folder.

    `fingerprint` names the model; by default its own. No truth is needed. Called again with the same recipe, model and
    images after an interruption, it goes on after the last whole epoch and ends with the same bytes; called again after
    it finished, it reads what it wrote. Raises BadData for images that cannot be used, BadPlan and UnknownName for
    attacks, BadModel for a model without fingerprint, BadInput where training diverges, StorageFull.
    """
    make_attack(recipe, recipe.eps)
    mark = _fingerprint(model) if fingerprint is None else fingerprint
    folds = stacked("training", train_images, recipe), stacked("validation", validation_images, recipe)
    told = digest([recipe.model_dump(mode="json"), mark, *map(_digest, folds)])
    if _finished(folder, told):
        return load_denoiser(folder, mark, device)
    progress.start("denoiser images", sum(map(len, folds)))
    with repeatable(seed_for(recipe.seed, "denoiser", "weights"), device):
        network = Dunet(recipe.width, recipe.depth).to(device)
        names = ("training", "validation")
        train, validation = (
            make_pairs(name, images, model, recipe, device, progress) for name, images in zip(names, folds, strict=True)
        )
        task = _Task(recipe, model, train, validation, device, progress)
        standing = _standing(task, network, folder, told)
        _teach(task, standing, folder, told)
        return _finish(task, standing, folder, told, mark)


def _finished(folder: Path, told: str) -> bool:
    """Whether an earlier call with the same recipe, model and images left its denoiser here."""
    try:
        return read_denoiser_card(folder).digest == told
    except BadModel:
        return False


def _standing(task: _Task, network: Dunet, folder: Path, told: str) -> _Standing:
    """Where an earlier call was interrupted, or the start: a network that does nothing, and what that is worth."""
    found = load_state(folder, told)
    if found:
        network.load_state_dict(dict(found.network))
    optimiser = torch.optim.Adam(network.parameters(), lr=task.recipe.lr, fused=True)
    if found:
        restore_optimiser(optimiser, found.optimiser)
        task.progress.note(f"denoiser: going on after epoch {len(found.history) - 1}")
        return _Standing(network, optimiser, dict(found.best), list(found.history))
    start = DenoiserEpoch(epoch=0, train_loss=None, validation_loss=_validate(task, network))
    return _Standing(network, optimiser, _snapshot(network), [start])


def _teach(task: _Task, standing: _Standing, folder: Path, told: str) -> None:
    """All epochs that are left; the network ends with the weights of its best one."""
    done = len(standing.history) - 1
    task.progress.start("denoiser", (task.recipe.epochs - done) * len(task.train))
    for number in range(done + 1, task.recipe.epochs + 1):
        epoch = _one_epoch(task, standing, number)
        if epoch.validation_loss < min(before.validation_loss for before in standing.history):
            standing.best = _snapshot(standing.network)
        standing.history.append(epoch)
        memory = optimiser_tensors(standing.optimiser)
        save_state(folder, told, State(tuple(standing.history), standing.network.state_dict(), standing.best, memory))
    standing.network.load_state_dict(standing.best)


def _one_epoch(task: _Task, standing: _Standing, number: int) -> DenoiserEpoch:
    recipe, network = task.recipe, standing.network
    chance = (recipe.seed, "denoiser", number)
    rows = torch.randperm(len(task.train), generator=generator(*chance, "order"))
    kinds = torch.randint(KINDS, (len(rows),), generator=generator(*chance, "kinds"))
    parts = batches(torch.arange(len(rows)), recipe.batch)
    lost: list[Tensor] = []
    network.train()
    for step, part in enumerate(parts):
        rate = one_cycle_rate(recipe.lr, (number - 1) * len(parts) + step, recipe.epochs * len(parts), warm=_WARM)
        loss = task.loss(network, task.train, rows[part], kinds[part])
        _learn(standing, loss, rate)
        lost.append(loss.detach() * len(part))
        task.progress.advance("denoiser", len(part))
    train_loss, judged = float(torch.stack(lost).sum()) / len(rows), _validate(task, network)
    if not (math.isfinite(train_loss) and math.isfinite(judged)):
        raise BadInput(
            f"the denoiser's training diverged: in epoch {number} the loss is no number any more; lower its learning "
            f"rate (now {recipe.lr:g})"
        )
    return DenoiserEpoch(epoch=number, train_loss=train_loss, validation_loss=judged)


def _learn(standing: _Standing, loss: Tensor, rate: float) -> None:
    parameters = list(standing.network.parameters())
    for group in standing.optimiser.param_groups:
        group["lr"] = rate
    # Gradients of the denoiser's weights alone: the model gets none, whether its weights ask for some or not.
    for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = slope
    standing.optimiser.step()


@torch.no_grad()
def _validate(task: _Task, network: Dunet) -> float:
    """Mean loss over the validation images, all three kinds of each."""
    network.eval()
    pairs, total = task.validation, 0.0
    for kind in range(KINDS):
        for rows in batches(torch.arange(len(pairs)), task.recipe.batch):
            total += float(task.loss(network, pairs, rows, torch.full_like(rows, kind))) * len(rows)
    return total / (KINDS * len(pairs))


@torch.no_grad()
def _agreement(task: _Task, network: Dunet) -> Agreement:
    """How often the model answers as on the clean image, with and without the denoiser."""
    network.eval()
    pairs, softmax = task.validation, task.model.head == "softmax"
    same = torch.zeros(2, KINDS)
    for kind in range(KINDS):
        for rows in batches(torch.arange(len(pairs)), task.recipe.batch):
            x = pairs.seen(rows, torch.full_like(rows, kind)).to(task.device)
            clean = pairs.answers[rows.to(task.device)]
            for place, images in enumerate((x, denoised(network, x))):
                logits = task.model(images)
                agree = logits.argmax(1) == clean.argmax(1) if softmax else ((logits > 0) == (clean > 0)).all(1)
                same[place, kind] += agree.sum().cpu()
    plain, cleaned = (same / len(pairs)).tolist()
    return Agreement(clean=cleaned[0], attacked=sum(plain[1:]) / 2, denoised=sum(cleaned[1:]) / 2)


def _finish(task: _Task, standing: _Standing, folder: Path, told: str, mark: str) -> Denoiser:
    card = DenoiserCard(
        width=task.recipe.width,
        depth=task.recipe.depth,
        model=mark,
        recipe=task.recipe.model_dump(mode="json"),
        digest=told,
        history=tuple(standing.history),
        agreement=_agreement(task, standing.network),
    )
    card = save_denoiser(folder, standing.network, card)
    remove_state(folder)
    return Denoiser(standing.network, card)


def _fingerprint(model: Classifier) -> str:
    known = getattr(model, "fingerprint", None)
    if known is None:
        raise BadModel("the model to train a denoiser for has no fingerprint; give one")
    return known()


def _digest(images: Tensor) -> str:
    found = hashlib.sha256(str(tuple(images.shape)).encode())
    found.update(images.numpy().data)
    return found.hexdigest()


def _snapshot(network: Dunet) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
