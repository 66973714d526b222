# SPDX-License-Identifier: Apache-2.0
"""One batch of one job, as stored and read back: what the model, its contenders and its detectors say of it."""

import numpy as np
import torch
from torch import Tensor

from radproof.assess.craft import Made, attacked_model
from radproof.assess.jobs import Job
from radproof.assess.material import Material, batch_generator
from radproof.assess.workspace import Arrays
from radproof.core.goals import goal as make_goal
from radproof.core.types import Classifier
from radproof.defenses.effect import effect
from radproof.detectors.benign import benign, handlings
from radproof.detectors.fitted import Fitted, measure_all, score_all
from radproof.detectors.paired_check import paired_check
from radproof.measure.images import l2, linf, psnr, ssim


def scored(material: Material, job: Job, batch: int, made: Made) -> Arrays:
    """Every answer to these images, how far they are from the originals, and what making them took."""
    arrays: Arrays = {
        "rows": np.array(made.rows, np.int64),
        "files": np.array(made.files),
        "sha256": np.array(made.sha256),
        "cost": np.array(
            [made.forwards, made.backwards, made.seconds, made.micro_batch, made.halvings, made.peak], np.float64
        ),
        "batch": np.array(batch),
    }
    if job.kind == "attack" and material.replay is None:  # of a replay only the stored images are left
        goal = make_goal(job.goal, material.y[made.rows], material.manifest.labels, material.manifest.head)
        judge = _defended(material, job.on, job, batch) if job.role == "defense" else attacked_model(material, job)
        loose = predict(judge, made.loose)
        arrays["reached_float"] = goal.reached(loose.to(material.device)).cpu().numpy()
    if job.kind != "clean":
        for name, measure in {"linf": linf, "l2": l2, "ssim": ssim, "psnr": psnr}.items():
            arrays[name] = measure(made.stored, made.original).double().cpu().numpy()
    if job.kind == "clean":
        arrays |= _quality(material, made, batch)
    for name in _judges(material, job):
        defended = material.model if name == "none" else _defended(material, name, job, batch)
        arrays[f"logits:{name}"] = predict(defended, made.stored).numpy()
    if job.role in ("model", "surrogate") and job.kind != "corruption" and material.replay is None:
        for name, network in material.targets.items():
            arrays[f"target:{name}"] = predict(network, made.stored).numpy()
    if job.on == "model" and job.kind != "corruption" and material.plan.survival:
        for handling in handlings(max(material.depths)):
            handled = handling.apply(made.stored, material.depths[made.rows[0]])
            arrays[f"treated:{handling.name}"] = predict(material.model, handled).numpy()
    if material.detectors and job.role in ("model", "detector"):
        arrays |= suspicions(material, made.stored)
        if job.kind == "clean" and material.plan.detection.benign:
            arrays |= _harmless(material, made)
    if job.on == "model" and job.kind == "attack":
        found = paired_check(made.original, made.stored, material.model)
        arrays["paired"] = torch.stack([found.flagged, found.flagged_without_label], dim=1).cpu().numpy()
    return arrays


def suspicions(material: Material, x: Tensor) -> Arrays:
    """What every detector says of images, and what it measured where detectors are also to be trained."""
    if not material.parts.learned:
        return {f"score:{name}": one.numpy() for name, one in score_all(_fitted(material), x).items()}
    scores, tables = measure_all(_fitted(material), x)
    return {
        **{f"score:{name}": one.numpy() for name, one in scores.items()},
        **{f"measured:{name}": one.numpy() for name, one in tables.items()},
    }


def _fitted(material: Material) -> dict[str, Fitted]:
    return {name: watching.fitted for name, watching in material.detectors.items()}


def _harmless(material: Material, made: Made) -> Arrays:
    """The same of clean images after each harmless change, and how the model answers these."""
    found: Arrays = {}
    for change in benign(max(material.depths)):
        x = change.apply(made.stored, material.depths[made.rows[0]])
        found[f"harmless:{change.name}"] = predict(material.model, x).numpy()
        scores = score_all(_fitted(material), x)
        found |= {f"harmless:{change.name}:{name}": one.numpy() for name, one in scores.items()}
    return found


def _quality(material: Material, made: Made, batch: int) -> Arrays:
    """What each defence makes of clean images, beside the originals."""
    found: Arrays = {}
    for name, contender in material.contenders.items():
        if contender.defense is not None:
            rng = batch_generator(material, "quality", name, batch)
            changed = effect(contender.defense, made.stored, rng=rng)
            found[f"quality:{name}:ssim"] = changed.ssim.double().cpu().numpy()
            found[f"quality:{name}:psnr"] = changed.psnr.double().cpu().numpy()
    return found


def _judges(material: Material, job: Job) -> list[str]:
    """Who scores a job's images: everyone, unless they were made against one defence."""
    if job.role == "detector":
        return ["none"]
    return [job.on] if job.role == "defense" else ["none", *material.contenders]


def _defended(material: Material, name: str, job: Job, batch: int) -> Classifier:
    rng = batch_generator(material, "score", name, *job.identity(), batch)
    return material.contenders[name].answering(int(rng.initial_seed()))


@torch.no_grad()
def predict(model: Classifier, x: Tensor) -> Tensor:
    """(N, K) float32 logits on the CPU. Scoring is float32 always, whatever the attack computed in."""
    return torch.cat([model(part).float().cpu() for part in x.split(model.micro_batch)])
