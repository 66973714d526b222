# SPDX-License-Identifier: Apache-2.0
"""Phantoms as an ordinary data set, so that demos and tests walk the same way as real radiographs."""

from pathlib import Path
from typing import Literal

from radproof.core.progress import SILENT, Progress
from radproof.data.images import StoredImage
from radproof.data.inventory import sample_id
from radproof.data.load import store
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.phantom import LABELS, phantoms


def materialise_phantoms(
    out: Path, *, count: int, size: int, seed: int, bits: Literal[8, 16] = 8, progress: Progress = SILENT
) -> Manifest:
    """Draw `count` phantoms of size x size into images/<id>.png below `out`, with their manifest; not yet split.

    Equal arguments give equal bytes. Raises BadInput for a count, size or depth out of range.
    """
    progress.start("draw phantoms", count)
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
            chain=({"step": "draw", "index": index, "size": size, "seed": seed, "bits": bits},),
        )
        samples.append(store(sample, StoredImage(phantom.image[:, :, None], bits), out))
        progress.advance("draw phantoms")
    source = {"kind": "phantom", "count": count, "size": size, "seed": seed, "bits": bits}
    made = Manifest(out, LABELS, tuple(samples), "softmax", source)
    made.write(out / NAME)
    return made
