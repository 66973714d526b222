# SPDX-License-Identifier: Apache-2.0
"""A run's adversarial images as DICOM files, written beside their originals and measured again."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from radproof.assess.craft import IMAGES
from radproof.assess.reading import image_root, own_images
from radproof.core.guard import guarded, inside
from radproof.core.progress import SILENT, Progress
from radproof.data.dicom.export import Exported, export
from radproof.data.manifest import NAME
from radproof.errors import BadData


def export_dicom(
    images: Path, source: Path, out: Path, *, burn: bool = False, root: str = "", progress: Progress = SILENT
) -> tuple[Exported, ...]:
    """Write the images of a run, or of a manifest as a run leaves it, to out/<id>.dcm; the index is out/dicom.csv.

    `source`: the folder whose DICOM files were imported. `burn`: ADVERSARIAL TEST IMAGE in the pixels, where no budget
    holds. `root` sets the UIDs of one export apart from another's. The originals are decoded in a guarded process.
    Raises BadData for images that no attack left, that did not come from DICOM or whose originals are not there.
    """
    manifest = _manifest(images)
    if manifest.parent.name == IMAGES:  # a run's, perhaps of a stranger's model
        own_images(manifest)
    if not source.is_dir():
        raise BadData(f"there is no folder {source}; expected the one whose DICOM files were imported")
    arguments = {
        "manifest": str(manifest.resolve()),
        "source": str(source.resolve()),
        "out": str(out.resolve()),
        "burnt": burn,
        "root": root,
    }
    if inside():
        lines = export(**arguments, progress=progress)  # pyright: ignore[reportArgumentType]
    else:
        task = "radproof.data.dicom.export:export"
        readable = [manifest, image_root(manifest), source]
        lines = guarded(
            task, arguments, read=readable, write=[out], progress=progress, blame=BadData, what="the DICOM originals"
        ).value
    return _lines(lines)


def _lines(said: Any) -> tuple[Exported, ...]:
    try:
        return TypeAdapter(tuple[Exported, ...]).validate_python(said)
    except ValidationError:
        raise BadData("the DICOM originals were stopped: their answers are not in order; check their source") from None


def _manifest(images: Path) -> Path:
    """The manifest of a run's images, of a folder, or the file itself."""
    for found in (images / IMAGES / NAME, images / NAME, images):
        if found.is_file():
            return found
    raise BadData(f"no adversarial images at {images}; expected a run's folder or a manifest that a run left")
