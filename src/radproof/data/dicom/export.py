# SPDX-License-Identifier: Apache-2.0
"""A set of adversarial images back into DICOM: each beside its original, written, read again and measured."""

import csv
import io
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radproof.core.files import sha256_file, write_text
from radproof.core.params import show_fraction
from radproof.core.progress import SILENT, Progress
from radproof.core.records import canonical_json, digest
from radproof.data.dicom.back import Grid
from radproof.data.dicom.derived import Told
from radproof.data.dicom.header import read_header
from radproof.data.dicom.measure import Measured, measure_again
from radproof.data.dicom.read import DicomImage, decode
from radproof.data.dicom.uids import root_of
from radproof.data.dicom.write import Whose, as_levels, write_dicom
from radproof.data.images import resize, window
from radproof.data.load import read_pixels
from radproof.data.manifest import Manifest, Sample
from radproof.data.pool import each
from radproof.errors import BadData, BadImage, BadInput

INDEX = "dicom.csv"
_MADE = {"attack": "adversarial", "corruption": "corrupted"}
_STEPS = ("window", "resize")  # that an original may have gone through after it was read


@dataclass(frozen=True)
class Exported:
    """One line of the index: what was asked, and what the file was found to hold."""

    id: str
    file: str
    how: str
    asked: int | None  # E, in grey levels; None where no pixel has a budget of its own
    found: int
    within: bool
    stored: int  # greatest change of a stored value
    outside: int  # pixels changed outside the window
    differs: int  # pixels that do not show what the image that was scored shows
    resampled: bool  # written as Secondary Capture, for its original has another size
    burnt: bool


def export(
    manifest: str, source: str, out: str, burnt: bool = False, root: str = "", progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """Write every image of the set at `manifest` to out/<id>.dcm, and the index dicom.csv; its lines as plain JSON.

    `source`: the folder whose DICOM files were imported, known again by their sha256. `root` sets the UIDs of one
    export apart from another's; without it they hang on the bytes of an original, which no manifest holds. Opens
    strangers' bytes with native decoders: call it in a guarded child process. Raises BadData for a set that no attack
    left, that did not come from DICOM, or whose originals are not there.
    """
    images = Manifest.read(Path(manifest))
    jobs = [_job(sample, images, number) for number, sample in enumerate(images.samples, 1)]
    if len({job.file for job in jobs}) < len(jobs):
        raise BadData(f"two images of {images.describe()} have one id; export the set as a run left it")
    files = _originals(Path(source), {job.origin["from"] for job in jobs}, progress)
    root = root or root_of(files[min(files)])
    groups: defaultdict[str, list[_Job]] = defaultdict(list)
    for job in jobs:
        groups[canonical_json([job.origin, job.steps])].append(job)

    def one(group: Sequence[_Job]) -> list[Exported]:
        original = _original(files[group[0].origin["from"]], group[0])
        return [_export(job, original, images.root, Path(out), burnt=burnt, root=root) for job in group]

    found = [
        line for lines in each(one, list(groups.values()), stage="write DICOM", progress=progress) for line in lines
    ]
    order = {job.sample.id: job.number for job in jobs}
    lines = [asdict(line) for line in sorted(found, key=lambda line: order[line.id])]
    write_text(Path(out) / INDEX, _table(lines))
    return lines


@dataclass(frozen=True)
class _Job:
    """An image, the file it came from, what happened to that on the way in, and how it was attacked."""

    sample: Sample
    number: int
    origin: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    made: Mapping[str, Any]

    @property
    def file(self) -> str:
        name = self.sample.id
        return f"{name if re.fullmatch(r'[A-Za-z0-9_-]{1,100}', name) else digest(name)[:16]}.dcm"

    @property
    def l2(self) -> bool:
        return self.made.get("threat") == "l2"

    @property
    def eps(self) -> float | None:
        """The budget of every pixel, where there is one."""
        return self.made["eps"] if self.made["step"] == "attack" and self.made.get("eps") and not self.l2 else None

    @property
    def how(self) -> str:
        eps = self.made.get("eps")
        budget = f", eps {show_fraction(eps)}{' root mean square' if self.l2 else ''}" if eps else ""
        return f"{self.made['label']}{budget}"


def _job(sample: Sample, images: Manifest, number: int) -> _Job:
    ends = [step.get("step") for step in sample.chain]
    if len(ends) < 2 or ends[-1] != "quantise" or ends[-2] not in _MADE or "label" not in sample.chain[-2]:
        raise BadData(f"{images.describe()} is not as attacks left it; give a run, or the images/ folder of one")
    if ends[0] != "dicom":
        raise BadData(f"image {sample.id} was not imported from DICOM, so there is no file to write it beside")
    steps = tuple(sample.chain[1:-2])
    if not all(step.get("step") in _STEPS for step in steps):
        raise BadData(f"image {sample.id} was changed after its import ({ends[1]}); only plain imports can be exported")
    return _Job(sample, number, sample.chain[0], steps, sample.chain[-2])


def _originals(source: Path, wanted: set[str], progress: Progress) -> dict[str, Path]:
    """The files by sha256."""
    if not source.is_dir():
        raise BadData(f"there is no folder {source}; expected the one whose DICOM files were imported")
    paths = sorted(Path(folder) / name for folder, _, names in os.walk(source) for name in names)
    paths = [path for path in paths if path.is_file()]
    hashes = each(sha256_file, paths, stage="find originals", progress=progress)
    found = {digest: path for digest, path in zip(hashes, paths, strict=True) if digest in wanted}
    if len(found) < len(wanted):
        raise BadData(
            f"the source folder lacks {len(wanted) - len(found)} of the {len(wanted)} DICOM files that the images were "
            "imported from, as they were then; values outside the window stand nowhere else: give that folder"
        )
    return found


def _original(path: Path, job: _Job) -> DicomImage:
    """What the attack started from, by the same steps."""
    voi = job.origin["voi"]
    shown = tuple(voi) if isinstance(voi, list) else voi
    try:
        image = decode(read_header(path), frame=job.origin["frame"], voi=shown, sha256=job.origin["from"])
    except BadImage as error:
        raise BadImage(f"the original of image {job.sample.id}: {error}") from None
    stored = image.stored
    for step in job.steps:
        if step["step"] == "window":
            stored = window(stored, step["low"] * stored.top, step["high"] * stored.top)
        else:
            stored = resize(stored, step["longer_side"])
    if stored.pixels.shape[2] != 1:
        raise BadInput(f"image {job.sample.id} is in colour; only grey images are written as DICOM")
    if stored is image.stored and image.raw.ndim == 2:
        return image
    return as_levels(image, stored.pixels[:, :, 0].astype(np.int32), stored.depth)


def _export(job: _Job, original: DicomImage, images: Path, out: Path, *, burnt: bool, root: str) -> Exported:
    changed, top = _levels(job, images), original.stored.top
    eps, asked = job.eps, None if job.eps is None else original.stored.depth.levels(job.eps)
    told = Told(job.how, _MADE[job.made["step"]], asked, top)
    whose = Whose(job.sample.patient or job.origin["from"], root, job.number)
    try:
        written = write_dicom(out / job.file, changed, original=original, told=told, whose=whose, eps=eps, burnt=burnt)
    except BadInput as error:
        raise BadData(f"image {job.sample.id}: {error}") from None
    l2 = job.made["eps"] * top * math.sqrt(changed.size) if job.l2 else None
    found = measure_again(written.path, original, eps, asked=changed, box=written.box, l2=l2)
    return _line(job, asked, found, resampled=bool(job.steps), burnt=burnt)


def _levels(job: _Job, images: Path) -> Grid:
    try:
        stored = read_pixels(job.sample, images)
    except BadImage as error:
        raise BadImage(f"image {job.sample.id}: {error}") from None
    return stored.pixels[:, :, 0].astype(np.int32)


def _line(job: _Job, asked: int | None, found: Measured, *, resampled: bool, burnt: bool) -> Exported:
    return Exported(
        id=job.sample.id,
        file=job.file,
        how=job.how,
        asked=asked,
        found=found.linf_levels,
        within=found.within,
        stored=found.linf_stored,
        outside=found.changed_outside_window,
        differs=found.differs,
        resampled=resampled,
        burnt=burnt,
    )


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    """CSV; what a spreadsheet would take for a formula is marked as text."""
    page = io.StringIO()
    rows = csv.DictWriter(page, fieldnames=list(Exported.__dataclass_fields__), lineterminator="\n")
    rows.writeheader()
    for line in lines:
        rows.writerow({k: f"'{v}" if isinstance(v, str) and v[:1] in "=+-@\t\r" and v else v for k, v in line.items()})
    return page.getvalue()
