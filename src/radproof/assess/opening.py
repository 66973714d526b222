# SPDX-License-Identifier: Apache-2.0
"""Everything that a plan names, opened: data, networks and what stands in front of them."""

from collections.abc import Callable
from pathlib import Path

import torch

from radproof.assess.aids import check_builds, gather
from radproof.assess.contenders import Contender, Front, in_front
from radproof.assess.data_set import chosen, open_manifest
from radproof.assess.jobs import Parts
from radproof.assess.material import Material
from radproof.assess.networks import Opener, Surrogate
from radproof.assess.plan import Plan
from radproof.assess.plan_checks import check_aware, check_budgets, check_goals, check_learned, check_names
from radproof.attacks.memory import fitting_micro_batch
from radproof.core.progress import Progress
from radproof.data.load import grids, partition
from radproof.data.manifest import Manifest
from radproof.models.black_box import BlackBox
from radproof.models.classifier import ImageClassifier


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
    test = chosen(plan, manifest)
    stored = grids(test.samples, test.root, progress=progress)
    depths = tuple(grid[-1] for grid in stored)
    check_budgets(plan, min(depths))
    check_aware(plan, parts)
    check_learned(plan, parts)
    y = torch.as_tensor(test.targets()).to(device)
    check_goals(plan, y, manifest)
    check_names(plan, parts)
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


def _contender(network: Surrogate, front: Front) -> Contender:
    return Contender(network.classifier, network.fingerprint, network.architecture, *front)


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
