# SPDX-License-Identifier: Apache-2.0
"""How importers of other formats end: every picture decoded once, stored as a PNG, and listed in a manifest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radproof.core.files import write_text
from radproof.core.progress import SILENT, Progress
from radproof.core.records import canonical_json
from radproof.core.types import Head
from radproof.data.images import StoredImage
from radproof.data.inventory import check_classes
from radproof.data.load import store
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.pool import each
from radproof.errors import BadData, BadInput


@dataclass(frozen=True)
class Picture:
    """A sample whose pixels are still to be decoded; `sidecar` is what its file says besides."""

    sample: Sample
    load: Callable[[], StoredImage]
    sidecar: Mapping[str, Any] | None = None


def materialise(
    pictures: Sequence[Picture],
    out: Path,
    *,
    labels: Sequence[str],
    head: Head,
    source: Mapping[str, Any],
    progress: Progress = SILENT,
) -> Manifest:
    """Write images/<id>.png, images/<id>.dicom.json for sidecars and, last, the manifest into `out`.

    A folder without a manifest was not finished. Raises BadData for no pictures, ids given twice or a class that none
    shows; errors of decoding name the sample by its path within the source.
    """
    samples = [picture.sample for picture in pictures]
    if not samples:
        raise BadData("the data set holds no image that could be taken; see what was left out and why")
    if len({sample.id for sample in samples}) < len(samples):
        raise BadData("two images of the data set have one id; remove the files that were given twice")
    check_classes(samples, labels, remedy="leave it out of `classes` or add images of it")
    (out / NAME).unlink(missing_ok=True)  # of an earlier import: it would vouch for images that are being replaced

    def one(picture: Picture) -> Sample:
        return _stored(picture, out)

    made = each(one, pictures, stage="import images", progress=progress)
    manifest = Manifest(out, tuple(labels), tuple(made), head, dict(source))
    manifest.write(out / NAME)
    return manifest


def _stored(picture: Picture, out: Path) -> Sample:
    try:
        stored = picture.load()
    except BadInput as error:
        raise type(error)(f"{picture.sample.path or picture.sample.id}: {error}") from None
    sample = store(picture.sample, stored, out)
    if picture.sidecar is not None:
        write_text(out / "images" / f"{sample.id}.dicom.json", canonical_json(dict(picture.sidecar)))
    return sample
