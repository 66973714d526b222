# SPDX-License-Identifier: Apache-2.0
"""One batch of one job: make the images, store them as they would be stored, and score what was read back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radproof.assess.jobs import Job
from radproof.assess.material import Material, batch_generator, bindings
from radproof.assess.parts import Settled
from radproof.assess.replay import Replay
from radproof.assess.workspace import Arrays
from radproof.attacks.balls import l2_radius
from radproof.attacks.metered import Metered, Precision
from radproof.core.files import sha256_file
from radproof.core.goals import goal as make_goal
from radproof.core.goals import scope
from radproof.core.types import Attack, Classifier
from radproof.data.storage import Norm, quantise, read_png, to_unit_tensor, write_png
from radproof.defenses.defended import Defended
from radproof.detectors.paired_check import paired_check
from radproof.errors import BadData
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
        made = _stored(material, job, rows, root, *_crafted(material, job, batch, rows, precision))
    return _scored(material, job, batch, made)


def in_scope(material: Material, job: Job, rows: Sequence[int]) -> list[int]:
    """The rows of a batch that the job's goal concerns."""
    if not job.goal:
        return list(rows)
    y = material.y[list(rows)]
    keep = scope(job.goal, y, material.manifest.labels)
    return [row for row, wanted in zip(rows, keep.tolist(), strict=True) if wanted]


def _crafted(
    material: Material, job: Job, batch: int, rows: list[int], precision: Precision
) -> tuple[Tensor, Tensor, Metered | None, float]:
    """(original, attacked, meter, seconds). Out of memory halves the micro-batch and starts the batch again."""
    x = material.images(rows)
    micro_batch = material.plan.micro_batch
    while True:
        rng = batch_generator(material, *job.identity(), batch)
        began = time.perf_counter()
        try:
            if job.kind == "corruption":
                part = material.parts.corruptions[job.label]
                return x, part.make()(x, rng=rng), None, time.perf_counter() - began
            meter = Metered(attacked_model(material, job), micro_batch=micro_batch, precision=precision)
            goal = make_goal(job.goal, material.y[rows], material.manifest.labels, material.manifest.head)
            part = _recipe(material, job)
            attack = part.make(eps=job.eps, **bindings(material, part.recipe.needs))
            return x, attack(meter, x, goal, rng=rng), meter, time.perf_counter() - began
        except (torch.OutOfMemoryError, MemoryError):
            if micro_batch == 1:
                raise
            micro_batch //= 2


def _recipe(material: Material, job: Job) -> Settled[Attack]:
    return (material.parts.adaptive if job.on in material.defenses else material.parts.attacks)[job.label]


def attacked_model(material: Material, job: Job) -> Classifier:
    """The classifier that a job's images are made on."""
    if job.on == "surrogate":
        assert material.surrogate is not None
        return material.surrogate
    if job.on == "model":
        return material.model
    return Defended(material.model, material.defenses[job.on], backward=job.backward, seed=material.plan.seed)


def _stored(
    material: Material, job: Job, rows: list[int], root: Path, x: Tensor, loose: Tensor, meter: Metered | None, s: float
) -> Made:
    norm = _norm(material, job)
    # An L2 budget is given as the L-infinity budget of equal root mean square.
    eps = l2_radius(job.eps, x.shape[1:]) if norm == "l2" else job.eps
    bits = material.bits[rows[0]]
    ints = quantise(loose, x, eps=eps, norm=norm, bits=bits)
    files = [f"{IMAGES}/{job.key}/{material.test.samples[row].id}.png" for row in rows]
    for image, file in zip(ints.cpu().numpy(), files, strict=True):
        write_png(root / file, image, bits)
    return Made(
        rows,
        x,
        loose,
        _read([root / file for file in files], x, bits),
        files,
        [sha256_file(root / file) for file in files],
        forwards=meter.forwards if meter else 0.0,
        backwards=meter.backwards if meter else 0.0,
        seconds=s,
        micro_batch=meter.micro_batch if meter else 0,
    )


def _norm(material: Material, job: Job) -> Norm:
    threat = "visible" if job.kind == "corruption" else _recipe(material, job).recipe.threat
    return "l2" if threat == "l2" else "linf" if threat == "linf" else "visible"


def _read(files: Sequence[Path], x: Tensor, bits: int) -> Tensor:
    """What is on disk is what counts; shaped like the originals x."""
    ints = torch.stack([read_png(file, channels=x.shape[1]) for file in files])
    return to_unit_tensor(ints, bits).to(x.device)


def _replayed(material: Material, replay: Replay, job: Job, rows: list[int]) -> Made:
    x, bits = material.images(rows), material.bits[rows[0]]
    found = [replay.of(job, material.test.samples[row]) for row in rows]
    stored = _read([image.path for image in found], x, bits)
    if job.threat == "linf" and bool((linf(stored, x) > job.eps + 1e-6).any()):
        raise BadData(f"an image of {job.label} {job.budget} to replay lies outside its budget; the set was changed")
    return Made(rows, x, stored, stored, [str(image.path) for image in found], [image.sha256 for image in found])


def _scored(material: Material, job: Job, batch: int, made: Made) -> Arrays:
    arrays: Arrays = {
        "rows": np.array(made.rows, np.int64),
        "files": np.array(made.files),
        "sha256": np.array(made.sha256),
        "cost": np.array([made.forwards, made.backwards, made.seconds, made.micro_batch]),
        "batch": np.array(batch),
    }
    if job.kind == "attack" and material.replay is None:  # of a replay only the stored images are left
        goal = make_goal(job.goal, material.y[made.rows], material.manifest.labels, material.manifest.head)
        loose = _predict(attacked_model(material, job), made.loose)
        arrays["reached_float"] = goal.reached(loose.to(material.device)).cpu().numpy()
    if job.kind != "clean":
        for name, measure in {"linf": linf, "l2": l2, "ssim": ssim, "psnr": psnr}.items():
            arrays[name] = measure(made.stored, made.original).double().cpu().numpy()
    for name in _judges(material, job):
        defended = material.model if name == "none" else _defended(material, name, job, batch)
        arrays[f"logits:{name}"] = _predict(defended, made.stored).numpy()
    if job.on == "model":
        for name, detector in material.detectors.items():
            arrays[f"score:{name}"] = detector.score(made.stored).double().cpu().numpy()
        if job.kind == "attack":
            found = paired_check(made.original, made.stored, material.model)
            arrays["paired"] = torch.stack([found.flagged, found.flagged_without_label], dim=1).cpu().numpy()
    return arrays


def _judges(material: Material, job: Job) -> list[str]:
    """Who scores a job's images: everyone, unless they were made against one defence."""
    return [job.on] if job.on in material.defenses else ["none", *material.defenses]


def _defended(material: Material, name: str, job: Job, batch: int) -> Classifier:
    rng = batch_generator(material, "score", name, *job.identity(), batch)
    return Defended(material.model, material.defenses[name], seed=int(rng.initial_seed()))


@torch.no_grad()
def _predict(model: Classifier, x: Tensor) -> Tensor:
    """(N, K) float32 logits on the CPU. Scoring is float32 always, whatever the attack computed in."""
    return torch.cat([model(part).float().cpu() for part in x.split(model.micro_batch)])
