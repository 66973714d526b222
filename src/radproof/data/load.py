# SPDX-License-Identifier: Apache-2.0
"""From a manifest to tensors, on the stored grid, in batches of one image size each."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radproof.core.depth import EIGHT, SIXTEEN, Depth
from radproof.core.files import sha256_file
from radproof.core.progress import SILENT, Progress
from radproof.data.images import StoredImage, read_image, resize, to_unit
from radproof.data.images import window as windowed
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.pool import each
from radproof.data.storage import write_png
from radproof.errors import BadImage, BadPlan

Grid = tuple[int, int, int, Depth]
"""Height, width, channels, depth: what the images of one batch share."""


@dataclass(frozen=True)
class LoadedImages:
    """Float32 images (C, H, W) in [0, 1] and the grids that they are stored on."""

    images: tuple[Tensor, ...]
    depths: tuple[Depth, ...]


def read_sample(sample: Sample, root: Path, *, size: int | None = None) -> StoredImage:
    """One sample's pixels, with the longer side resampled to `size`. Raises BadImage naming the sample by its id."""
    try:
        stored = read_pixels(sample, root)
    except BadImage as error:
        raise BadImage(f"image {sample.id}: {error}") from None
    return stored if size is None else resize(stored, size)


def read_pixels(sample: Sample, root: Path) -> StoredImage:
    """One sample's pixels on the grid that it tells. Raises BadImage, without its id, where the file has another."""
    stored = read_image(root / sample.path)
    top = sample.top or stored.top
    if top > stored.top:
        raise BadImage(f"the file holds {stored.depth.bits} bits, too few for the levels 0..{top} that it should have")
    if int(stored.pixels.max()) > top:
        raise BadImage(
            f"the file holds the grey level {stored.pixels.max()}, and its levels should end at {top}; import it again"
        )
    return replace(stored, depth=Depth(top, sample.held))


def load_image(sample: Sample, root: Path, *, size: int | None = None) -> Tensor:
    """One sample as float32 (C, H, W) in [0, 1]: for loaders that cannot hold the whole set."""
    return torch.from_numpy(to_unit(read_sample(sample, root, size=size)))


def load_images(
    samples: Sequence[Sample], root: Path, *, size: int | None = None, progress: Progress = SILENT
) -> LoadedImages:
    """All the samples in memory, in their order; grey stays one channel. Raises BadImage naming a sample by its id."""

    def one(sample: Sample) -> tuple[Tensor, Depth]:
        stored = read_sample(sample, root, size=size)
        return torch.from_numpy(to_unit(stored)), stored.depth

    loaded = each(one, samples, stage="read images", progress=progress)
    return LoadedImages(tuple(image for image, _ in loaded), tuple(depth for _, depth in loaded))


def grids(samples: Sequence[Sample], root: Path, *, progress: Progress = SILENT) -> list[Grid]:
    """Each sample's grid, without holding its pixels: colour whose channels agree counts as grey, so files are read."""

    def one(sample: Sample) -> Grid:
        stored = read_sample(sample, root)
        height, width, channels = stored.pixels.shape
        return height, width, channels, stored.depth

    return each(one, samples, stage="read images", progress=progress)


def partition(shapes: Sequence[tuple[Hashable, ...]], batch: int) -> tuple[tuple[int, ...], ...]:
    """Indices in batches of at most `batch`, one shape per batch, stable: shapes by first appearance, then by index.

    The partition is part of a plan: each batch draws from its own generator.
    """
    if batch < 1:
        raise BadPlan(f"a batch needs at least 1 image; got {batch}")
    rows: defaultdict[tuple[Hashable, ...], list[int]] = defaultdict(list)
    for index, shape in enumerate(shapes):
        rows[shape].append(index)
    return tuple(tuple(same[start : start + batch]) for same in rows.values() for start in range(0, len(same), batch))


def import_images(
    manifest: Manifest,
    out: Path,
    *,
    size: int | None,
    window: tuple[float, float] | None = None,
    progress: Progress = SILENT,
) -> Manifest:
    """Materialise the set windowed and with its longer sides resampled: PNGs named by id, and their manifest, in `out`.

    Each sample's chain gains the step with what it was made from. Raises BadImage naming the file by its path within
    the source, so that it can be found and removed.
    """

    def one(sample: Sample) -> Sample:
        try:
            stored = read_pixels(sample, manifest.root)
        except BadImage as error:
            raise BadImage(f"{sample.path}: {error}") from None
        steps: list[dict[str, Any]] = []
        if window is not None:
            stored = windowed(stored, window[0] * stored.top, window[1] * stored.top)
            steps.append({"step": "window", "low": window[0], "high": window[1], "from": sample.sha256})
        if size is not None:
            stored = resize(stored, size)
            steps.append({"step": "resize", "longer_side": size, "filter": "lanczos", "from": sample.sha256})
        return store(replace(sample, chain=(*sample.chain, *steps)), stored, out)

    about = {"longer_side": size, "window": window}
    samples = each(one, manifest.samples, stage="import images", progress=progress)
    made = replace(manifest, root=out, samples=tuple(samples), source={**manifest.source, **about})
    made.write(out / NAME)
    return made


def store(sample: Sample, stored: StoredImage, out: Path) -> Sample:
    """Write the pixels to images/<id>.png below `out`; the sample with its new path, hash, size and grid."""
    path = f"images/{sample.id}.png"
    file = out / path
    write_png(file, np.ascontiguousarray(stored.pixels.transpose(2, 0, 1)), stored.depth)
    whole = stored.top in (EIGHT.top, SIXTEEN.top)
    grid: dict[str, Any] = {"top": 0 if whole else stored.top, "held": stored.depth.held}
    return replace(sample, path=path, sha256=sha256_file(file), size=file.stat().st_size, **grid)


def load_batch(manifest: Manifest, samples: Sequence[Sample], device: torch.device) -> Tensor:
    """Images of one size as a batch."""
    return torch.stack(load_images(samples, manifest.root).images).to(device)
