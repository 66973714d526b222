# SPDX-License-Identifier: Apache-2.0
"""One batch of one job: make the images, store them as they would be stored, and score what was read back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radproof.assess.jobs import Job, attacks_of
from radproof.assess.material import Material, batch_generator
from radproof.assess.parts import Settled
from radproof.assess.replay import Replay
from radproof.assess.workspace import Arrays
from radproof.attacks.balls import l2_radius
from radproof.attacks.learned import Learner
from radproof.attacks.metered import Metered, Precision
from radproof.core.depth import Depth
from radproof.core.files import sha256_file
from radproof.core.goals import goal as make_goal
from radproof.core.goals import scope
from radproof.core.types import Attack, Classifier
from radproof.data.storage import Norm, quantise, read_png, to_unit_tensor, write_png
from radproof.defenses.effect import effect
from radproof.detectors.benign import benign, handlings
from radproof.detectors.fitted import Fitted, measure_all, score_all
from radproof.detectors.paired_check import paired_check
from radproof.errors import BadData, BadPlan, NoGradient
from radproof.measure.cost import PeakMemory
from radproof.measure.images import l2, linf, psnr, ssim

IMAGES = "images"


@dataclass(frozen=True)
class Made:
    """Images of one batch: as the attack left them, and as stored and read back."""

    rows: list[int]  # into the test fold
    original: Tensor
    loose: Tensor
    stored: Tensor
    files: list[str]  # relative to the run, "" for clean images
    sha256: list[str]
    forwards: float = 0.0
    backwards: float = 0.0
    seconds: float = 0.0
    micro_batch: int = 0
    halvings: int = 0  # of the micro-batch, as memory ran out
    peak: float = float("nan")  # MiB that the batch added; NaN: not measured


def run_batch(material: Material, job: Job, batch: int, root: Path, precision: Precision) -> Arrays:
    """Make and score one batch of a job; nothing of it is kept before the caller saves what this returns."""
    rows = in_scope(material, job, material.batches[batch])
    if not rows:
        return {"rows": np.zeros(0, np.int64)}
    if job.kind == "clean":
        x = material.images(rows)
        made = Made(rows, x, x, x, [""] * len(rows), [material.test.samples[row].sha256 for row in rows])
    elif material.replay is not None:
        made = _replayed(material, material.replay, job, rows)
    else:
        made = _stored(material, job, rows, root, _crafted(material, job, batch, rows, precision))
    return _scored(material, job, batch, made)


def in_scope(material: Material, job: Job, rows: Sequence[int]) -> list[int]:
    """The rows of a batch that the job's goal concerns."""
    if not job.goal:
        return list(rows)
    y = material.y[list(rows)]
    keep = scope(job.goal, y, material.manifest.labels)
    few = material.watched(job.on) if job.role == "detector" else None
    return [row for row, wanted in zip(rows, keep.tolist(), strict=True) if wanted and (few is None or row in few)]


@dataclass(frozen=True)
class Crafted:
    """What an attack or a corruption made of one batch, and what it spent."""

    original: Tensor
    loose: Tensor
    meter: Metered | None
    seconds: float
    peak: float
    halvings: int


def _crafted(material: Material, job: Job, batch: int, rows: list[int], precision: Precision) -> Crafted:
    """Out of memory halves the micro-batch and starts the batch again."""
    x = material.images(rows)
    micro_batch = attacked_model(material, job).micro_batch if job.kind == "attack" else 1
    halvings = 0
    while True:
        meter = None
        began = time.perf_counter()
        try:
            with PeakMemory(material.device) as memory:
                if job.kind == "corruption":
                    rng = batch_generator(material, *job.identity(), batch)
                    loose = material.parts.corruptions[job.label].make()(x, rng=rng)
                else:
                    meter = Metered(attacked_model(material, job), micro_batch=micro_batch, precision=precision)
                    loose = _attacked(material, job, batch, rows, meter, x)
        except (torch.OutOfMemoryError, MemoryError):
            if micro_batch == 1:
                raise
            micro_batch, halvings = micro_batch // 2, halvings + 1
            continue
        peak = float("nan") if memory.mebibytes is None else memory.mebibytes
        return Crafted(x, loose, meter, time.perf_counter() - began, peak, halvings)


def _attacked(material: Material, job: Job, batch: int, rows: list[int], meter: Metered, x: Tensor) -> Tensor:
    part = _recipe(material, job)
    attack = part.make(eps=job.eps, **material.aids.bindings(part.recipe.needs, rows, **_knowledge(material, job)))
    goal = make_goal(job.goal, material.y[rows], material.manifest.labels, material.manifest.head)
    try:
        if isinstance(attack, Learner):
            attack = learned(material, job, attack, meter.model, meter.precision)
        return attack(meter, x, goal, rng=batch_generator(material, *job.identity(), batch))
    except NoGradient:
        return x.clone()  # there is nothing to climb; the probes find it, and it becomes a doubt


def _knowledge(material: Material, job: Job) -> dict[str, object]:
    """What an attacker who is aware of a detector is given."""
    if job.role != "detector":
        return {}
    watch = material.detectors[job.on].watch
    found: dict[str, object] = {} if watch is None else {"watch": watch}
    if material.features is not None:
        found["features"] = material.features.bound(material.model)
    return found


def learned(material: Material, job: Job, attack: Learner, model: Classifier, precision: Precision) -> Attack:
    """The attack, taught once per job on training images; the same whichever batch comes first."""
    if job.key not in material.learned:
        pool = material.aids.pool
        labels, head = material.manifest.labels, material.manifest.head
        about = scope(job.goal, pool.labels, labels)
        if not bool(about.any()):
            raise BadPlan(f"{job.label} learns from training images, and the goal {job.goal} concerns none of them")
        goal = make_goal(job.goal, pool.labels[about], labels, head)
        rng = batch_generator(material, "learn", *job.identity())
        material.learned[job.key] = attack.learn(Metered(model, precision=precision), pool.images[about], goal, rng=rng)
    return material.learned[job.key]


def _recipe(material: Material, job: Job) -> Settled[Attack]:
    return attacks_of(job, material.parts)[job.label]


def attacked_model(material: Material, job: Job) -> Classifier:
    """The classifier that a job's images are made on."""
    if job.role == "surrogate":
        return material.surrogates[job.on].classifier
    if job.role != "defense":
        return material.model
    plan = material.plan
    return material.contenders[job.on].attacked(job.backward, seed=plan.seed, eot=plan.eot)


def passes_per_call(material: Material, job: Job) -> int:
    """Passes through the network for each that an attack asks for: the draws of a random defence."""
    return material.plan.eot if job.role == "defense" and material.contenders[job.on].random else 1


def _stored(material: Material, job: Job, rows: list[int], root: Path, crafted: Crafted) -> Made:
    x, meter = crafted.original, crafted.meter
    draws = passes_per_call(material, job)
    depth = material.depths[rows[0]]
    ints = _whole(crafted.loose, x, job, depth)
    files = [f"{IMAGES}/{job.key}/{material.test.samples[row].id}.png" for row in rows]
    for image, file in zip(ints.cpu().numpy(), files, strict=True):
        write_png(root / file, image, depth)
    return Made(
        rows,
        x,
        crafted.loose,
        _read([root / file for file in files], x, depth),
        files,
        [sha256_file(root / file) for file in files],
        forwards=meter.forwards * draws if meter else 0.0,
        backwards=meter.backwards * draws if meter else 0.0,
        seconds=crafted.seconds,
        micro_batch=meter.micro_batch if meter else 0,
        halvings=crafted.halvings,
        peak=crafted.peak,
    )


def as_read_back(loose: Tensor, x: Tensor, job: Job, depth: Depth) -> Tensor:
    """What a file of this depth would hold of the images, without writing one."""
    return to_unit_tensor(_whole(loose, x, job, depth), depth).to(x.device)


def _whole(loose: Tensor, x: Tensor, job: Job, depth: Depth) -> Tensor:
    """Grey levels within the budget. An L2 budget is given as the L-infinity budget of equal root mean square."""
    norm = norm_of(job)
    eps = l2_radius(job.eps, x.shape[1:]) if norm == "l2" else job.eps
    return quantise(loose, x, eps=eps, norm=norm, depth=depth)


def norm_of(job: Job) -> Norm:
    """What storing holds a job's images to: its budget, where it has one."""
    if job.threat == "l2":
        return "l2"
    return "linf" if job.kind == "attack" and job.eps else "visible"


def _read(files: Sequence[Path], x: Tensor, depth: Depth) -> Tensor:
    """What is on disk is what counts; shaped like the originals x."""
    ints = torch.stack([read_png(file, depth, channels=x.shape[1]) for file in files])
    return to_unit_tensor(ints, depth).to(x.device)


def _replayed(material: Material, replay: Replay, job: Job, rows: list[int]) -> Made:
    x, depth = material.images(rows), material.depths[rows[0]]
    found = [replay.of(job, material.test.samples[row]) for row in rows]
    stored = _read([image.path for image in found], x, depth)
    if norm_of(job) == "linf" and bool((linf(stored, x) > job.eps + 1e-6).any()):
        raise BadData(f"an image of {job.label} {job.budget} to replay lies outside its budget; the set was changed")
    return Made(rows, x, stored, stored, [str(image.path) for image in found], [image.sha256 for image in found])


def _scored(material: Material, job: Job, batch: int, made: Made) -> Arrays:
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
