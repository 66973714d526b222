# SPDX-License-Identifier: Apache-2.0
"""Image files before a model in use: read as an import reads them, judged by a guard, each answered or refused."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from radproof.core.files import sha256_file
from radproof.core.records import Record
from radproof.data.dicom.opened import is_dicom
from radproof.data.dicom.read import read_dicom
from radproof.data.images import SUFFIXES, StoredImage, read_image, to_unit
from radproof.detectors.guard import Grid, Guard
from radproof.detectors.screening import Screening
from radproof.errors import BadImage, BadInput

DICOM = (".dcm", ".dicom", ".ima")  # names of DICOM files, where they have one
PIECE = 16  # files read and judged at a time


class Screened(Record):
    """What was said of one file; one that could not be judged has a refusal instead of a screening."""

    name: str  # as given: for the terminal and for programs, never for a page
    image: str = ""  # 16 hex digits of the sha256 of the file's bytes: what a page calls it
    screening: Screening | None = None
    refusal: str = ""
    page: str = ""  # the file name of its page, where pages were asked for


@dataclass(frozen=True)
class Judged:
    """What was said of a file, and its pixels (C, H, W) on the CPU where they could be read."""

    said: Screened
    pixels: Tensor | None = None


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are given, folders with all images below them, in order and each once.

    A file without a suffix counts where its first bytes are those of DICOM. Raises BadInput where nothing is left.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for file in _below(path) if path.is_dir() else (path,):
            found.setdefault(os.path.realpath(file), file)
    files = list(found.values())
    if not files:
        raise BadInput(
            f"no image in {', '.join(map(str, paths)) or 'nothing'}; give files ({', '.join((*SUFFIXES, *DICOM))})"
        )
    return files


def screen_files(
    guard: Guard, files: Sequence[Path], device: torch.device, *, view: str | None = None
) -> Iterator[Judged]:
    """Every file in its order; one that cannot be read or judged does not keep the others from being answered.

    `view` is that of all of them. Raises BadInput where thresholds are by view and none is given.
    """
    for start in range(0, len(files), PIECE):
        read = [_read(file, guard) for file in files[start : start + PIECE]]
        pixels = [one.pixels for one in read if one.pixels is not None]
        views = None if view is None else [view] * len(pixels)
        found = iter(guard.screen(torch.stack(pixels).to(device), views=views) if pixels else ())
        for one in read:
            update = {} if one.pixels is None else {"screening": next(found)}
            yield Judged(one.said.model_copy(update=update), one.pixels)


def _below(folder: Path) -> Iterable[Path]:
    for parent, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent) / name
            if not name.startswith(".") and (
                name.lower().endswith((*SUFFIXES, *DICOM)) or (not file.suffix and is_dicom(file))
            ):
                yield file


def _read(file: Path, guard: Guard) -> Judged:
    """The pixels that the guard can judge, or why it cannot."""
    try:
        stored = _stored(file)
        _check_grid(stored, guard)
        said = Screened(name=str(file), image=sha256_file(file)[:16])
        return Judged(said, torch.from_numpy(to_unit(stored)))
    except BadInput as error:
        return Judged(Screened(name=str(file), refusal=str(error)))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return Judged(Screened(name=str(file), refusal=f"{why}; check the file and its rights"))


def _stored(file: Path) -> StoredImage:
    """The pixels of a file, told by its content. Raises BadImage, also for several images in one."""
    if not (file.is_file() and is_dicom(file)):
        return read_image(file)
    image = read_dicom(file)
    if image.facts.frames > 1:
        raise BadImage(f"the file holds {image.facts.frames} frames; export the one that is meant as a file of its own")
    return image.stored


def _check_grid(stored: StoredImage, guard: Guard) -> None:
    """Raises BadInput for another grid than the guard learnt; a depth that its promise covers is no other grid."""
    height, width, channels = stored.pixels.shape
    own, given = guard.about.grid, Grid(channels=channels, height=height, width=width, bits=stored.top.bit_length())
    covered = f"{stored.depth.bits}-bit" in guard.suspicion.thresholds.covers
    if given != own and not (covered and given.model_copy(update={"bits": own.bits}) == own):
        raise BadInput(
            f"this detector is for {own}, not for {given}; export or import the file as those were, or teach a "
            "detector on images like it: resizing here would destroy the grain that is looked at"
        )
