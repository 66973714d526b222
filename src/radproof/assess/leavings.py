# SPDX-License-Identifier: Apache-2.0
"""What a finished run leaves: the table of answers, the adversarial images as a data set, and the result."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from radproof.assess.answers import Answered
from radproof.assess.craft import IMAGES
from radproof.assess.material import Material
from radproof.assess.result import Result
from radproof.assess.table import attack_step, table
from radproof.assess.workspace import Workspace
from radproof.core.files import atomic, write_text
from radproof.data.manifest import Manifest, Sample
from radproof.data.storage import quantise_step

RESULT, ROWS = "result.json", "rows.parquet"


def write_all(space: Workspace, material: Material, found: Sequence[Answered], result: Result) -> None:
    """The tables first and result.json last: where it stands, everything stands."""
    with atomic(space.root / ROWS) as temporary:
        pq.write_table(
            pa.Table.from_pandas(table(found, material), preserve_index=False), temporary, compression="zstd"
        )
    images_manifest(space.root, material, found)
    write_text(space.root / RESULT, result.model_dump_json(indent=1))


def images_manifest(root: Path, material: Material, found: Sequence[Answered]) -> Manifest:
    """The adversarial images as a data set of their own, each with the chain that made it."""
    samples: list[Sample] = []
    seen: set[str] = set()
    for a in found:
        if a.job.kind == "clean" or a.job.key in seen:
            continue
        seen.add(a.job.key)
        for row, file, sha256, batch in zip(a.rows, a.files, a.sha256, a.batch, strict=True):
            sample = material.test.samples[int(row)]
            step = attack_step(a.job, sample.id, sample.sha256, batch, material)
            samples.append(
                replace(
                    sample,
                    id=f"{sample.id}-{a.job.key[-8:]}",
                    path=file.removeprefix(f"{IMAGES}/"),
                    sha256=sha256,
                    size=(root / file).stat().st_size,
                    fold="test",
                    chain=(*sample.chain, step, quantise_step(material.depths[int(row)])),
                )
            )
    manifest = Manifest(
        root / IMAGES,
        material.manifest.labels,
        tuple(samples),
        material.manifest.head,
        {"kind": "adversarial", "split": "kept"},
    )
    if samples:
        manifest.write(root / IMAGES / "manifest.parquet")
    return manifest
