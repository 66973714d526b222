# SPDX-License-Identifier: Apache-2.0
"""A data set blown up with changed copies before it is split: a published mistake, here to be measured.

Where copies of one film lie in training and test, a test figure tells how well a network remembers. The audit and the
doubt `leakage` say so of every run on such a set.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from radproof.core.depth import Depth
from radproof.core.progress import SILENT, Progress
from radproof.core.records import digest
from radproof.core.rng import numpy_generator
from radproof.data.augmented import STEP
from radproof.data.images import StoredImage, to_unit
from radproof.data.load import read_sample, store
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.pool import each
from radproof.errors import BadPlan

DEGREES, SHIFT, ZOOM, BRIGHTNESS = 10.0, 0.05, 0.1, 0.1  # most that a copy is changed by, either way


def inflate(manifest: Manifest, per_class: int, out: Path, *, seed: int = 0, progress: Progress = SILENT) -> Manifest:
    """The set with every class filled up to `per_class` images by changed copies, written to `out`, without folds.

    A class with more images keeps them all. Copies belong to their original's patient and say so in their chain.
    Raises BadPlan for multi-label sets.
    """
    if manifest.head == "sigmoid":
        raise BadPlan("inflating fills classes up, which needs one class per image; choose multi_label: false")
    jobs = [*((sample, 0) for sample in manifest.samples), *_copies(manifest, per_class)]

    def one(job: tuple[Sample, int]) -> Sample:
        sample, number = job
        stored = read_sample(sample, manifest.root)
        if not number:
            return store(replace(sample, fold=""), stored, out)
        rng = numpy_generator("inflate", seed, sample.id, number)
        name = digest([sample.id, "copy", number])[:16]
        step = {**STEP, "known_from": "radproof", "of": sample.id, "of_sha256": sample.sha256, "copy": number}
        copy = replace(sample, id=name, fold="", chain=(*sample.chain, step))
        return store(copy, _changed(stored, rng.uniform), out)

    samples = each(one, jobs, stage="inflate", progress=progress)
    source = {**{k: v for k, v in manifest.source.items() if k != "split"}, "inflated": per_class, "inflate_seed": seed}
    made = replace(manifest, root=out, samples=tuple(samples), source=source)
    made.write(out / NAME)
    return made


def _copies(manifest: Manifest, per_class: int) -> list[tuple[Sample, int]]:
    """Which originals are copied, in turn, and the number of each copy."""
    found: list[tuple[Sample, int]] = []
    for label in manifest.labels:
        own = sorted((s for s in manifest.samples if s.labels == (label,)), key=lambda s: s.id)
        missing = max(0, per_class - len(own)) if own else 0
        found.extend((own[i % len(own)], 1 + i // len(own)) for i in range(missing))
    return found


def _changed(stored: StoredImage, uniform: Callable[[float, float], float]) -> StoredImage:
    """Turned, shifted, scaled and brightened a little, as image generators do."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as T

    image = torch.from_numpy(to_unit(stored))
    height, width = image.shape[1:]
    moved = T.affine(
        image,
        angle=uniform(-DEGREES, DEGREES),
        translate=[uniform(-SHIFT, SHIFT) * width, uniform(-SHIFT, SHIFT) * height],
        scale=1 + uniform(-ZOOM, ZOOM),
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    brighter = (moved * (1 + uniform(-BRIGHTNESS, BRIGHTNESS))).clamp(0, 1)
    pixels = (brighter * stored.top).round().numpy().transpose(1, 2, 0).astype(stored.pixels.dtype)
    return StoredImage(np.ascontiguousarray(pixels), Depth(stored.top))
