# SPDX-License-Identifier: Apache-2.0
"""Images before a model in use, a page each: in a guarded process where the model or an image needs one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from radproof.assess.in_use import Answers, answers, opened, require_card, require_empty, stranger
from radproof.assess.reading import of_model
from radproof.assess.screening import Screened, image_files, screen_files
from radproof.assess.sheltered import call, new_folder
from radproof.core.device import resolve
from radproof.core.guard import inside
from radproof.core.progress import SILENT, Progress
from radproof.data.dicom.opened import is_dicom
from radproof.detectors.save import load_guard
from radproof.errors import BadModel
from radproof.reports.screening import write_page


def screened(
    images: Sequence[Path],
    model: Path,
    guard: Path,
    *,
    out: Path | None = None,
    view: str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Iterator[Screened]:
    """Judge image files and folders of them, one by one, with a guard's file; a page each in `out` where given.

    Strangers' models and DICOM files are opened in a guarded process, whose answers come when it has done all.
    """
    files = image_files(images)
    resolve(device)
    require_card(model)
    if out:
        require_empty(out)
    if not (stranger(model) or (not inside() and any(is_dicom(file) for file in files))):
        yield from _screened(files, model, guard, out, view, device, progress)
        return
    with answers() as kept:
        _guarded(files, images, model, guard, kept, out=out, view=view, device=device, progress=progress)
        said = list(kept.read(Screened))
    if len(said) != len(files):
        raise BadModel(f"the model file was stopped: it answered for {len(said)} of {len(files)} images")
    for file, one in zip(files, said, strict=True):
        yield one.model_copy(update={"name": str(file)})


def task(
    files: list[str],
    model: str,
    guard: str,
    kept: str,
    out: str | None,
    view: str | None,
    device: str,
    progress: Progress = SILENT,
) -> None:
    """What the guarded process does."""
    paths = [Path(file) for file in files]
    pages = Path(out) if out else None
    Answers(Path(kept)).keep(_screened(paths, Path(model), Path(guard), pages, view, device, progress))


def _guarded(
    files: Sequence[Path],
    given: Sequence[Path],
    model: Path,
    guard: Path,
    kept: Answers,
    *,
    out: Path | None,
    view: str | None,
    device: str,
    progress: Progress,
) -> None:
    arguments = {
        "files": [os.path.abspath(file) for file in files],
        "model": str(model.resolve()),
        "guard": str(guard.resolve()),
        "kept": str(kept.path),
        "out": str(out.resolve()) if out else None,
        "view": view,
        "device": device,
    }
    folders = [folder.resolve() for folder in given if folder.is_dir()]
    others = [file for file in (file.resolve() for file in files) if not any(file.is_relative_to(f) for f in folders)]
    read, write = [*of_model(model), guard, *folders, *others], [kept.path.parent]
    with new_folder(out) if out else nullcontext():
        call(
            "radproof.reports.screened:task",
            arguments,
            read=read,
            write=[*write, out] if out else write,
            what="the model file or one of the images",
            progress=progress,
        )


def _screened(
    files: Sequence[Path],
    model: Path,
    guard: Path,
    out: Path | None,
    view: str | None,
    device: str,
    progress: Progress,
) -> Iterator[Screened]:
    where = resolve(device)
    network, card = opened(model, where)
    keeper = load_guard(guard, network, model_fingerprint=network.fingerprint())
    progress.start("screen", len(files))
    for judged in screen_files(keeper, files, where, view=view):
        page = write_page(out, judged, keeper, phantom=card.phantom) if out and judged.said.screening else ""
        progress.advance("screen")
        yield judged.said.model_copy(update={"page": page})
