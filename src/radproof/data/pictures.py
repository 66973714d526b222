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
from radproof.data.damaged import Damage, refuse
from radproof.data.images import StoredImage
from radproof.data.inventory import check_classes
from radproof.data.load import store
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.pool import each
from radproof.errors import BadData, BadImage, BadInput


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
    damaged: Damage = refuse,
    progress: Progress = SILENT,
) -> Manifest:
    """Write images/<id>.png, images/<id>.dicom.json for sidecars and, last, the manifest into `out`.

    A folder without a manifest was not finished; pictures that `damaged` lets pass are left out. Raises BadData for no
    pictures, ids given twice or a class that none shows; errors of decoding name the sample by its path within the
    source.
    """
    samples = [picture.sample for picture in pictures]
    if not samples:
        raise BadData("the data set holds no image that could be taken; see what was left out and why")
    if len({sample.id for sample in samples}) < len(samples):
        raise BadData("two images of the data set have one id; remove the files that were given twice")
    check_classes(samples, labels, remedy="leave it out of `classes` or add images of it")
    (out / NAME).unlink(missing_ok=True)  # of an earlier import: it would vouch for images that are being replaced

    def one(picture: Picture) -> Sample | None:
        return _stored(picture, out, damaged)

    made = tuple(one for one in each(one, pictures, stage="import images", progress=progress) if one is not None)
    if len(made) < len(samples):
        check_classes(made, labels, remedy="its images cannot be read")
    manifest = Manifest(out, tuple(labels), made, head, dict(source))
    manifest.write(out / NAME)
    return manifest


def _stored(picture: Picture, out: Path, damaged: Damage) -> Sample | None:
    where = picture.sample.path or picture.sample.id
    try:
        stored = picture.load()
    except BadImage as error:
        return damaged(where, error)
    except BadInput as error:
        raise type(error)(f"{where}: {error}") from None
    sample = store(picture.sample, stored, out)
    if picture.sidecar is not None:
        write_text(out / "images" / f"{sample.id}.dicom.json", canonical_json(dict(picture.sidecar)))
    return sample
