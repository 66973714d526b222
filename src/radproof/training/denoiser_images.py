# SPDX-License-Identifier: Apache-2.0
"""What a denoiser learns from: images, what attacks on the fixed model add to them, and the model's clean answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from radproof.attacks import attack
from radproof.attacks.learned import Learner
from radproof.core.goals import goal
from radproof.core.progress import Progress
from radproof.core.rng import generator
from radproof.core.types import Attack, Classifier
from radproof.errors import BadData, BadPlan
from radproof.models.classifier import resize
from radproof.training.balance import batches
from radproof.training.denoiser_recipe import DenoiserRecipe

LEAST = 0.1  # of eps: no budget is smaller
KINDS = 3  # of image: clean, one step, the recipe's attack


@dataclass(frozen=True)
class Pairs:
    """N images in three kinds: clean, after one signed step, after the recipe's attack, each at a random budget."""

    name: str
    clean: Tensor  # (N, C, H, W) in [0, 1]
    changes: Tensor  # (2, N, C, H, W) in half precision
    answers: Tensor  # (N, K) logits of the clean images

    def __len__(self) -> int:
        return len(self.clean)

    def seen(self, rows: Tensor, kinds: Tensor) -> Tensor:
        """Images of `rows`, each of the kind (0, 1, 2) given beside it."""
        x = self.clean[rows]
        change = self.changes[(kinds - 1).clamp_min(0), rows].float() * (kinds > 0).view(-1, 1, 1, 1)
        return (x + change).clamp(0, 1)


def make_pairs(
    name: str, images: Tensor, model: Classifier, recipe: DenoiserRecipe, device: torch.device, progress: Progress
) -> Pairs:
    """Attack images (N, C, H, W) away from the model's own answers: no truth is needed, and none leaks."""
    changes, answers = torch.empty(KINDS - 1, *images.shape, dtype=torch.float16), list[Tensor]()
    for number, rows in enumerate(batches(torch.arange(len(images)), recipe.batch)):
        x = images[rows].to(device)
        with torch.no_grad():
            logits = model(x)
        said = logits.argmax(1) if model.head == "softmax" else (logits > 0).to(logits.dtype)
        aim = goal("misclassify", said, model.labels, model.head)
        for kind in range(KINDS - 1):
            chance = (recipe.seed, "denoiser", name, kind, number)
            share = float(torch.rand((), generator=generator(*chance, "budget")))
            made = make_attack(recipe, recipe.eps * (LEAST + (1 - LEAST) * share), one_step=kind == 0)
            changes[kind, rows] = (made(model, x, aim, rng=generator(*chance, device=device)) - x).half().cpu()
        answers.append(logits.float())
        progress.advance("denoiser images", len(rows))
    return Pairs(name, images, changes, torch.cat(answers))


def make_attack(recipe: DenoiserRecipe, eps: float, *, one_step: bool = False) -> Attack:
    """The recipe's attack at a budget, or FGSM. Raises UnknownName, and BadPlan where it cannot be used here."""
    chosen = attack["fgsm" if one_step else recipe.attack]
    known = chosen.params.model_fields
    if "eps" not in known:
        raise BadPlan(f"{chosen.name} has no eps, and a denoiser learns from budgets; choose an attack that has one")
    params: dict[str, Any] = {"eps": eps} | ({"steps": recipe.steps} if "steps" in known else {})
    made = chosen.make(params)
    if isinstance(made, Learner):
        raise BadPlan(f"{chosen.name} makes one perturbation for all images; choose an attack on single images")
    return made


def stacked(name: str, images: Sequence[Tensor] | Tensor, recipe: DenoiserRecipe) -> Tensor:
    """Images (C, H, W) as one tensor (N, C, H, W) on the CPU, resized and thinned out where the recipe says so.

    Raises BadData where there are fewer than two, their sizes differ, or pixels are no numbers in [0, 1].
    """
    if len(images) < 2:
        raise BadData(f"a denoiser needs two or more {name} images, got {len(images)}")
    most = min(recipe.images or len(images), len(images))
    chosen = [images[row].float() for row in torch.linspace(0, len(images) - 1, most).round().long().tolist()]
    if recipe.size is not None:
        chosen = [resize(image.unsqueeze(0), recipe.size)[0] for image in chosen]
    shapes = sorted({tuple(image.shape) for image in chosen})
    if len(shapes) > 1:
        raise BadData(
            f"the {name} images have {len(shapes)} shapes ({shapes[0]}, {shapes[1]}, …); a denoiser learns from "
            "images of one; give it a size"
        )
    together = torch.stack(chosen)
    if together.dim() != 4 or together.shape[1] not in (1, 3):
        raise BadData(f"expected {name} images (1 or 3, H, W), got {shapes[0]}")
    if not bool(together.isfinite().all()) or together.amin() < -1e-6 or together.amax() > 1 + 1e-6:
        raise BadData(f"some {name} images hold pixels that are not numbers in [0, 1]; scale or leave them out")
    return together.clamp(0, 1)
