# SPDX-License-Identifier: Apache-2.0
"""Clean a data set's images with defences."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from radproof.assess.in_use import require_empty
from radproof.assess.parts import settle_all
from radproof.assess.sections import Part
from radproof.core.depth import Depth
from radproof.core.files import sha256_file
from radproof.core.progress import SILENT, Progress
from radproof.core.rng import generator
from radproof.data.load import grids, load_batch, partition
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.storage import quantise, quantise_step, write_png
from radproof.defenses import defense

BATCH = 16


def defend(source: Path, defenses: Sequence[str], out: Path, *, seed: int = 0, progress: Progress = SILENT) -> Manifest:
    """Clean every image of a manifest with the defences, in order; PNG files and a manifest in `out`."""
    manifest = Manifest.read(source)
    require_empty(out)
    part_way = out.with_name(f"{out.name}.part")  # takes its name when it is whole
    shutil.rmtree(part_way, ignore_errors=True)
    parts = settle_all([Part(name=name) for name in defenses], defense, "published")
    chosen = [part.make() for part in parts.values()]
    stored = grids(manifest.samples, manifest.root)
    progress.start("defend", len(manifest))
    made: list[Sample] = []
    for number, rows in enumerate(partition(stored, BATCH)):
        samples = [manifest.samples[row] for row in rows]
        x = load_batch(manifest, samples, torch.device("cpu"))
        cleaned = x
        for part in chosen:
            cleaned = part(cleaned, rng=generator(seed, "defend", number))
        depth = stored[rows[0]][-1]
        for sample, image in zip(samples, quantise(cleaned, x, eps=1.0, norm="visible", depth=depth), strict=True):
            steps = tuple({"step": "defense", "name": p.recipe.name, "params": p.params} for p in parts.values())
            made.append(_written(part_way, sample, image.numpy(), depth, steps))
        progress.advance("defend", len(rows))
    replace(manifest, root=part_way, samples=tuple(made)).write(part_way / NAME)
    if out.exists():
        out.rmdir()
    part_way.rename(out)
    return Manifest.read(out)


def _written(out: Path, sample: Sample, image: Any, depth: Depth, steps: tuple[dict[str, Any], ...]) -> Sample:
    path = out / "images" / f"{sample.id}.png"
    write_png(path, image, depth)
    chain = (*sample.chain, *steps, quantise_step(depth))
    relative = str(path.relative_to(out))
    return replace(sample, path=relative, sha256=sha256_file(path), size=path.stat().st_size, chain=chain)
