# SPDX-License-Identifier: Apache-2.0
"""One batch of one job: make the images, and store them as they would be stored."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from radproof.assess.jobs import Job, attacks_of
from radproof.assess.material import Material, batch_generator
from radproof.assess.parts import Settled
from radproof.assess.replay import Replay
from radproof.attacks.balls import l2_radius
from radproof.attacks.learned import Learner
from radproof.attacks.metered import Metered, Precision
from radproof.core.depth import Depth
from radproof.core.files import sha256_file
from radproof.core.goals import goal as make_goal
from radproof.core.goals import scope
from radproof.core.types import Attack, Classifier
from radproof.data.storage import Norm, quantise, read_png, to_unit_tensor, write_png
from radproof.errors import BadData, BadPlan, NoGradient
from radproof.measure.cost import PeakMemory
from radproof.measure.images import linf

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


def make(material: Material, job: Job, batch: int, rows: list[int], root: Path, precision: Precision) -> Made:
    """The images of these rows: the clean ones, those to replay, or attacked ones, of which files are left in root."""
    if job.kind == "clean":
        x = material.images(rows)
        return Made(rows, x, x, x, [""] * len(rows), [material.test.samples[row].sha256 for row in rows])
    if material.replay is not None:
        return _replayed(material, material.replay, job, rows)
    return _stored(material, job, rows, root, _crafted(material, job, batch, rows, precision))


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
