# SPDX-License-Identifier: Apache-2.0
"""The manifest: one table behind every data set, and the only thing that stages hand to each other.

`manifest.parquet` holds one row per image; its key-value metadata holds labels, head and source.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from radproof.core.depth import SIXTEEN
from radproof.core.files import atomic
from radproof.core.records import canonical_json, digest
from radproof.core.tables import read_table
from radproof.core.types import Head
from radproof.errors import BadData, UnknownName

Fold = Literal["train", "validation", "test"]
FOLDS: tuple[Fold, ...] = ("train", "validation", "test")
NAME = "manifest.parquet"
_CELLS = 30_000_000  # of some two million images; each takes about 80 bytes here
_CHAIN = 1_000_000  # characters
KEY = b"radproof.manifest"


@dataclass(frozen=True)
class Sample:
    """One image: where it is, whose it is, what it shows, and how it came to be."""

    id: str  # sha256 of the path within the source, 16 hex digits: no name of a person or file
    path: str  # relative to the manifest's root
    patient: str  # "" where the source does not say
    labels: tuple[str, ...]  # one for softmax heads; any number for sigmoid heads
    fold: str = ""  # train | validation | test, "" before the split
    view: str = ""  # PA, AP, … or ""
    age: int | None = None
    sex: str = ""
    sha256: str = ""  # of the file
    size: int = 0  # of the file, in bytes
    chain: tuple[Mapping[str, Any], ...] = ()  # the transformations that made the image, oldest first
    top: int = 0  # grey level shown as white; 0: the largest that the file's bits can hold
    held: bool = False  # black and white pixels lie outside the window and must stay as they are


@dataclass(frozen=True)
class Manifest:
    """Samples, the classes they may show, and what the source was."""

    root: Path  # the folder that sample paths are relative to
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    head: Head = "softmax"
    source: Mapping[str, Any] = field(default_factory=dict[str, Any])  # kind, parameters, counts of what was left out

    def __len__(self) -> int:
        return len(self.samples)

    def fold(self, name: str) -> "Manifest":
        """The samples of one fold; raises BadData where it is empty."""
        if name not in FOLDS:
            raise UnknownName(f"no fold named {name!r}; known: {', '.join(FOLDS)}")
        chosen = tuple(s for s in self.samples if s.fold == name)
        if not chosen:
            raise BadData(f"the {name} fold of {self.describe()} holds no image; split it first or check the lists")
        return replace(self, samples=chosen)

    def only(self, samples: Iterable[Sample]) -> "Manifest":
        """The same data set with these samples."""
        return replace(self, samples=tuple(samples))

    def describe(self) -> str:
        """'nih (1090 images of 800 patients)', for messages: never a path."""
        return f"{self.source.get('kind', 'data set')} ({len(self)} images of {len(self.patients())} patients)"

    def patients(self) -> list[str]:
        """Distinct patients, sorted; an image without a patient counts as its own."""
        return sorted({s.patient or s.id for s in self.samples})

    def targets(self) -> np.ndarray:
        """(N,) int64 class indices for softmax heads, (N, K) float32 in {0, 1} for sigmoid heads."""
        if self.head == "sigmoid":
            return np.array([[label in s.labels for label in self.labels] for s in self.samples], dtype=np.float32)
        return np.array([self.labels.index(s.labels[0]) for s in self.samples], dtype=np.int64)

    def counts(self) -> dict[str, int]:
        """Images per label."""
        found = Counter(label for s in self.samples for label in s.labels)
        return {label: found[label] for label in self.labels}

    def fingerprint(self) -> str:
        """sha256 over labels, head and every sample's content, labels and fold: what a model card records."""
        rows = sorted([s.sha256, *s.labels, s.fold, *_told_grid(s)] for s in self.samples)
        return digest({"labels": self.labels, "head": self.head, "rows": rows})

    def write(self, path: Path) -> Path:
        """Write the table, whole or not at all; sample paths must be relative to its folder or absolute."""
        rows = [
            {**asdict(s), "labels": list(s.labels), "chain": canonical_json([dict(step) for step in s.chain])}
            for s in self.samples
        ]
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        about = {"version": 1, "labels": self.labels, "head": self.head, "source": dict(self.source)}
        # A manifest written beside its images is found again wherever the folder goes.
        about["root"] = "." if path.parent.resolve() == self.root.resolve() else str(self.root.resolve())
        table = table.replace_schema_metadata({KEY: json.dumps(about).encode()})
        with atomic(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        return path

    @staticmethod
    def read(path: Path) -> "Manifest":
        """Read `path`, a manifest file or a folder holding one. Raises BadData with what is wrong."""
        file = path / NAME if path.is_dir() else path
        if not file.is_file():
            raise BadData(
                f"no manifest at {path}; expected a {NAME} file or a folder holding one; "
                "make one with `radproof data import`"
            )
        try:
            table = read_table(file, cells=_CELLS)
            about = json.loads((table.schema.metadata or {})[KEY])
            rows: list[dict[str, Any]] = table.to_pylist()
            samples = tuple(_sample(row) for row in rows)
            root = file.parent if about["root"] == "." else Path(about["root"])
            return Manifest(root, tuple(about["labels"]), samples, about["head"], about["source"])
        except (pa.ArrowException, KeyError, TypeError, ValueError, RecursionError, OSError) as error:
            raise BadData(
                f"{file.name} is not a radproof manifest ({type(error).__name__}); make one with `radproof data import`"
            ) from None


def _sample(row: dict[str, Any]) -> Sample:
    fields = dict(row)
    if ".." in row["path"].replace("\\", "/").split("/"):
        raise BadData("the manifest names an image outside its folder (by ..); make one with `radproof data import`")
    if len(row["chain"]) > _CHAIN:
        raise ValueError("chain")
    fields["labels"], fields["chain"] = tuple(row["labels"]), tuple(json.loads(row["chain"]))
    if not 0 <= row.get("top", 0) <= SIXTEEN.top:
        raise ValueError("top")
    return Sample(**fields)


def _told_grid(sample: Sample) -> tuple[str, ...]:
    """Nothing where grey levels fill the file's range, as in manifests of before."""
    return (f"top {sample.top}", f"held {sample.held}") if sample.top or sample.held else ()


_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("patient", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("fold", pa.string()),
        ("view", pa.string()),
        ("age", pa.int32()),
        ("sex", pa.string()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
        ("chain", pa.string()),
        ("top", pa.int32()),
        ("held", pa.bool_()),
    ]
)
