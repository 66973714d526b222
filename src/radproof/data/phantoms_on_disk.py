# SPDX-License-Identifier: Apache-2.0
"""Phantoms as an ordinary data set, so that demos and tests walk the same way as real radiographs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from radproof.core.depth import EIGHT, SIXTEEN
from radproof.core.progress import SILENT, Progress
from radproof.data.chest import Chest, shot
from radproof.data.images import StoredImage
from radproof.data.inventory import sample_id
from radproof.data.load import store
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.phantom import LABELS, Phantom, phantoms


def materialise_phantoms(
    out: Path, *, count: int, size: int, seed: int, bits: Literal[8, 16] = 8, progress: Progress = SILENT
) -> Manifest:
    """Draw `count` phantoms of size x size into images/<id>.png below `out`, with their manifest; not yet split.

    Equal arguments give equal bytes. Raises BadInput for a count, size or depth out of range.
    """
    progress.start("draw phantoms", count)
    depth = EIGHT if bits == 8 else SIXTEEN
    samples: list[Sample] = []
    for index, phantom in enumerate(phantoms(count, size=size, seed=seed, bits=bits)):
        sample = Sample(
            id=sample_id(f"phantom/{seed}/{size}/{bits}/{index}"),
            path="",
            patient=phantom.patient,
            labels=(phantom.label,),
            view=phantom.view,
            age=phantom.age,
            sex=phantom.sex,
            chain=(_draw_step(index, phantom, size, seed, bits),),
        )
        samples.append(store(sample, StoredImage(phantom.image[:, :, None], depth), out))
        progress.advance("draw phantoms")
    source = {"kind": "phantom", "count": count, "size": size, "seed": seed, "bits": bits}
    made = Manifest(out, LABELS, tuple(samples), "softmax", source)
    made.write(out / NAME)
    return made


def lungs(sample: Sample) -> NDArray[np.float32] | None:
    """The exact lungs of a phantom, (H, W) at the size of its file: 1 in the lungs, 0 elsewhere.

    The heart's shadow counts as heart. A phantom resampled on import has its lungs laid out at the new size. None for
    images that are no phantoms.
    """
    chest = _chest(sample)
    return None if chest is None else chest.lungs.astype(np.float32)


def organs(sample: Sample) -> NDArray[np.float32] | None:
    """The same for lungs and heart together: what a patch beside the anatomy must keep off."""
    chest = _chest(sample)
    return None if chest is None else chest.organs.astype(np.float32)


def _chest(sample: Sample) -> Chest | None:
    drawn = next((step for step in sample.chain if step.get("step") == "draw"), None)
    if drawn is None or not {"seed", "patient", "image", "size"} <= set(drawn):
        return None
    size = next((step["longer_side"] for step in reversed(sample.chain) if step.get("step") == "resize"), drawn["size"])
    return shot(size=size, seed=drawn["seed"], patient=drawn["patient"], image=drawn["image"]).chest


def _draw_step(index: int, phantom: Phantom, size: int, seed: int, bits: int) -> Mapping[str, Any]:
    """All that is needed to draw it again, and to lay out its anatomy."""
    who = {"patient": phantom.number, "image": phantom.shot}
    return {"step": "draw", "index": index, **who, "size": size, "seed": seed, "bits": bits}
