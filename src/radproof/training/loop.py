# SPDX-License-Identifier: Apache-2.0
"""Training from recipe to model folder: resumable after any epoch, early-stopped, calibrated, the same bytes each time.

Two stages, as in the published recipe: a new head on a frozen backbone, then the last layers along with it at a small
rate. The epoch with the lowest validation loss is kept, and its confidences are calibrated on the validation fold by
one temperature (Guo et al., ICML 2017).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from radproof import __version__
from radproof.core.progress import SILENT, Progress
from radproof.core.records import digest
from radproof.core.types import Classifier, Head
from radproof.errors import BadInput
from radproof.measure.calibration import fit_temperature
from radproof.models.card import CARD, ModelCard, load_model, save_model
from radproof.models.classifier import ImageClassifier
from radproof.training import checkpoint
from radproof.training.arithmetic import Arithmetic, settle
from radproof.training.beginnings import begin, origins, settle_teacher
from radproof.training.checkpoint import Checkpoint
from radproof.training.epochs import Stage, one_epoch
from radproof.training.folds import check_every_class, gather
from radproof.training.history import Epoch, History, read_history, score, write_history
from radproof.training.inner import make_adversary
from radproof.training.recipe import TrainingRecipe, plain, without_folders
from radproof.training.robust import collapse, units
from radproof.training.schedule import exhausted
from radproof.training.stages import fine_tuning_stage, head_stage, logits_of
from radproof.training.task import Task, make_task


@dataclass(frozen=True)
class Trained:
    """A finished training; `folder` holds the model, its card and history.json."""

    model: ImageClassifier  # frozen, on the device
    card: ModelCard
    history: tuple[Epoch, ...]
    folder: Path
    resumed: int = 0  # epochs that were done before this call
    seconds: tuple[float, ...] = ()  # of each epoch of this call


@dataclass
class _Standing:
    """What has been reached so far."""

    folder: Path
    digest: str
    model: ImageClassifier
    best: dict[str, Tensor]
    fresh_count: bool  # fine-tuning is judged otherwise than the head was
    epochs: list[Epoch] = field(default_factory=list[Epoch])
    optimiser: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    seconds: list[float] = field(default_factory=list[float])

    def losses(self, stage: str) -> list[float]:
        """Validation losses of a stage; fine-tuning has to improve on the head's best, where they compare."""
        head = [epoch.validation_loss for epoch in self.epochs if epoch.stage == "head"]
        if stage == "head":
            return head
        best = [min(head)] if head and not self.fresh_count else []
        return best + [epoch.judged for epoch in self.epochs if epoch.stage == stage and epoch.note is None]

    def save(self, optimiser: Mapping[str, Tensor]) -> None:
        """Write the checkpoint."""
        history = History(digest=self.digest, epochs=tuple(self.epochs))
        checkpoint.save(self.folder, Checkpoint(history, self.model.state_dict(), self.best, optimiser))


def train(
    recipe: TrainingRecipe,
    train_images: Sequence[Tensor] | Tensor,
    train_targets: Tensor,
    validation_images: Sequence[Tensor] | Tensor,
    validation_targets: Tensor,
    *,
    labels: Sequence[str],
    head: Head,
    device: torch.device,
    folder: Path,
    progress: Progress = SILENT,
    facts: Mapping[str, Any] | None = None,
    start: ImageClassifier | None = None,
    teacher: Classifier | None = None,
) -> Trained:
    """Train a classifier on images (C, H, W) float32 in [0, 1] of any sizes, and write its model folder.

    Targets are (N,) int64 classes for softmax heads, (N, K) in {0, 1} for sigmoid heads. `facts` are entries of the
    model card that only the caller knows: name, licence, data, data_fingerprint, shortcuts, phantom. `start` lends its
    weights to begin from, `teacher` (on the device) its answers to a recipe with `distill:`; neither is changed.

    Called again with the same of all these after an interruption, it goes on after the last whole epoch and ends with
    the same bytes; called again after it finished, it reads what it wrote. Raises BadData for folds that cannot be
    used, BadModel and UnknownName for weights and architectures, BadInput where training diverges, StorageFull.
    """
    said = _check_facts(facts or {})
    train_fold, validation = (
        gather(name, images, targets, size=recipe.input_size, labels=labels, head=head)
        for name, images, targets in (
            ("training", train_images, train_targets),
            ("validation", validation_images, validation_targets),
        )
    )
    check_every_class(train_fold, labels, head)
    settled_teacher = settle_teacher(recipe, teacher, labels, head, device)
    model = begin(recipe, labels, head, start)
    arithmetic = settle(recipe.precision, device, model)
    before = origins(start, settled_teacher, train_fold, recipe.batch, device)
    facts_of_all = [plain(recipe), model.fingerprint(), train_fold.digest(), validation.digest(), arithmetic.precision]
    told = digest(facts_of_all + ([before] if before else []))
    done = _finished(folder, told, device)
    if done:
        return done
    model.to(device).to(memory_format=torch.channels_last)
    adversary = recipe.adversarial and make_adversary(
        recipe.adversarial, model, train_fold, arithmetic, recipe.batch, recipe.seed
    )
    task = make_task(
        recipe,
        head,
        train_fold,
        validation,
        len(labels),
        arithmetic,
        progress,
        adversary=adversary,
        teacher=settled_teacher,
        before=before,
    )
    standing = _standing(folder, told, model, progress, fresh_count=task.fresh_count)
    resumed = len(standing.epochs)
    _teach(task, standing)
    return _finish(task, standing, said, resumed)


def _teach(task: Task, standing: _Standing) -> None:
    """Both stages, from where they stand; the model ends with the weights of its best epoch."""
    recipe, model = task.recipe, standing.model
    if recipe.head_epochs and not standing.epochs:
        stage = head_stage(task, model)
        task.progress.start("head", recipe.head_epochs * len(task.train))
        _run(task, stage, standing, recipe.head_epochs, keep=False)
        model.load_state_dict(standing.best)
        standing.save({})
    if recipe.epochs:
        stage = fine_tuning_stage(task, model)
        if standing.optimiser:
            checkpoint.restore_optimiser(stage.optimiser, standing.optimiser)
        done = sum(epoch.stage == stage.name for epoch in standing.epochs)
        task.progress.start("training", (recipe.epochs - done) * units(task))
        _run(task, stage, standing, recipe.epochs, keep=True)
        model.load_state_dict(standing.best)


def _run(task: Task, stage: Stage, standing: _Standing, epochs: int, *, keep: bool) -> None:
    """Epochs of one stage until all are done or bring nothing more; `keep` writes a checkpoint after each."""
    first = 1 + sum(epoch.stage == stage.name for epoch in standing.epochs)
    for number in range(first, epochs + 1):
        if standing.epochs and standing.epochs[-1].note is not None:
            return
        losses = standing.losses(stage.name)
        if exhausted(task.recipe, losses):
            task.progress.note(
                f"{stage.name}: stopped after epoch {number - 1}, the best was {task.recipe.patience} before"
            )
            return
        started = time.perf_counter()
        epoch = _checked(one_epoch(task, stage, number, losses), standing)
        standing.epochs.append(epoch)
        if epoch.note is None and epoch.judged < min(losses, default=float("inf")):
            standing.best = _snapshot(standing.model)
        if keep:
            standing.save(checkpoint.optimiser_tensors(stage.optimiser))
        standing.seconds.append(time.perf_counter() - started)
        if epoch.note is not None:
            task.progress.note(f"{stage.name}: {epoch.note}")


def _checked(epoch: Epoch, standing: _Standing) -> Epoch:
    """With a note where the training has to stop."""
    reason = collapse(standing.epochs[-1] if standing.epochs else None, epoch)
    return epoch.model_copy(update={"note": reason}) if reason else epoch


def _standing(folder: Path, told: str, model: ImageClassifier, progress: Progress, *, fresh_count: bool) -> _Standing:
    """Where an earlier call with the same recipe and data was interrupted, or the start."""
    found = checkpoint.load(folder, told)
    if found is None:
        return _Standing(folder, told, model, _snapshot(model), fresh_count)
    model.load_state_dict(found.model)
    progress.note(f"going on after epoch {len(found.history.epochs)}")
    return _Standing(folder, told, model, dict(found.best), fresh_count, list(found.history.epochs), found.optimiser)


def _finish(task: Task, standing: _Standing, said: dict[str, Any], resumed: int) -> Trained:
    """Calibrate, score the validation fold in float32, write the model folder."""
    model = standing.model.to(memory_format=torch.contiguous_format).freeze()
    exact = Arithmetic(task.arithmetic.device, "fp32")
    logits = logits_of(model, task.validation, exact, task.recipe.batch)
    truth = task.validation.targets.numpy()
    if not task.recipe.distill:  # a temperature would undo what distillation is about
        model.calibrate(fit_temperature(logits.cpu().numpy(), truth, task.head))
    scored = score(logits / model.temperature, task.validation.targets, task.head)
    metrics = {
        "validation_accuracy": scored.accuracy,
        "validation_macro_auroc": scored.auroc,
        "validation_loss": scored.loss,
    }
    history = History(digest=standing.digest, epochs=tuple(standing.epochs))
    card = ModelCard(
        **dict(model.blueprint),
        **said,
        images={"training": len(task.train), "validation": len(task.validation)},
        metrics=metrics,
        recipe=_told_recipe(task),
        created_by=f"radproof {__version__}",
    )
    # The history comes last: it is what says that the folder's model belongs to this recipe and data.
    card = save_model(standing.folder, model, card)
    write_history(standing.folder, history)
    checkpoint.remove(standing.folder)
    return Trained(model, card, history.epochs, standing.folder, resumed, tuple(standing.seconds))


def _finished(folder: Path, told: str, device: torch.device) -> Trained | None:
    """The model of an earlier call with the same recipe and data."""
    history = read_history(folder)
    if history is None or history.digest != told or not (folder / CARD).is_file():
        return None
    model, card = load_model(folder, device)
    return Trained(model, card, history.epochs, folder, resumed=len(history.epochs))


def _told_recipe(task: Task) -> dict[str, Any]:
    """The recipe with what auto came to, without the folders of whoever trained, and what was trained before."""
    told = {**without_folders(task.recipe, lambda file: file.name), "precision": task.arithmetic.precision}
    calibration = {"calibration": "none: distilled at a temperature, used at 1"} if task.recipe.distill else {}
    return told | dict(task.before) | calibration


def _check_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse now what the card would refuse after hours of training."""
    ours = {"labels": ("a", "b"), "architecture": "cxrnet", "mean": (0.5,), "std": (0.5,), "channels": 1}
    known = {"name", "licence", "data", "data_fingerprint", "phantom", "shortcuts"}
    unknown = sorted(set(facts) - known)
    if unknown:
        raise BadInput(f"a model card has no fact {unknown[0]!r} to be told; known: {', '.join(sorted(known))}")
    try:
        ModelCard(**ours, **facts)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"model card: {first['loc'][0]}: {first['msg']}, got {first.get('input')!r}") from None
    return dict(facts)


def _snapshot(model: ImageClassifier) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
