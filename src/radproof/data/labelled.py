# SPDX-License-Identifier: Apache-2.0
"""Images in folders of any kind beside a table that says what they show."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from radproof.core.progress import SILENT, Progress
from radproof.data.augmented import STEP, says_augmented
from radproof.data.images import SUFFIXES
from radproof.data.inventory import check_classes, hashed, sample_id
from radproof.data.labels import Claims, read_labels
from radproof.data.manifest import Manifest, Sample
from radproof.data.within import files_below, has_suffix
from radproof.errors import BadData


def read_labelled(
    root: Path,
    labels: Path,
    *,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    progress: Progress = SILENT,
) -> Manifest:
    """All PNG, JPEG and TIFF files below `root` that `labels` names; the files stay where they are.

    Images without a row and rows without an image are left out and counted in `source`. Raises BadData for a table
    that cannot be used, a row that fits two images, or a class that no image shows; UnknownName for a foreign label.
    """
    if not root.is_dir():
        raise BadData(f"there is no folder {root}; expected one with PNG, JPEG or TIFF files in it or below")
    table = read_labels(labels, root=root, classes=classes, multi_label=multi_label)
    left_out: Counter[str] = Counter()
    samples: list[Sample] = []
    claims = Claims(table)
    for path in files_below(root, root):
        if has_suffix(path, SUFFIXES):
            sample = _sample(path, claims)
            samples.extend([sample] if sample else [])
            left_out["images without a row"] += sample is None
        elif (root / path).resolve() != labels.resolve():
            left_out["other file types"] += 1
    left_out["rows without an image"] = claims.unused
    if not samples:
        seen = ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
        raise BadData(f"no image has a row in {labels.name} ({seen}); keys are paths below the folder or file names")
    check_classes(samples, table.classes, remedy="leave it out of `classes` or add images of it")
    source = {
        "kind": "labelled",
        "classes": list(table.classes),
        "multi_label": multi_label,
        "left_out": dict(sorted(left_out.items())),
        "patients": "table" if all(sample.patient for sample in samples) else "unknown",
    }
    return Manifest(root, table.classes, hashed(samples, root, progress), table.head, source)


def _sample(path: str, claims: Claims) -> Sample | None:
    label = claims.of(path, path)
    if label is None:
        return None
    chain = (STEP,) if says_augmented(path) else ()
    return label.onto(Sample(sample_id(path), path, "", label.labels, chain=chain))
