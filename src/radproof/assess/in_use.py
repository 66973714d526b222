# SPDX-License-Identifier: Apache-2.0
"""A model in use: what watches it is taught here, and images are judged; strangers' files in a guarded process."""

import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter

from radproof.assess.data_set import open_manifest
from radproof.assess.flagging import Flag, flag_images
from radproof.assess.guarding import Lesson, source_of, teach
from radproof.assess.plan import checked
from radproof.assess.reading import of_data, of_model
from radproof.assess.sections import DataPlan
from radproof.assess.sheltered import call, new_folder
from radproof.core.device import resolve
from radproof.core.files import write_bytes
from radproof.core.guard import inside
from radproof.core.progress import SILENT, Progress
from radproof.data.foreign import READERS
from radproof.data.kinds import kind_of
from radproof.data.manifest import NAME, Manifest
from radproof.detectors.save import GuardCard, read_guard_card, save_guard
from radproof.errors import BadInput, BadModel
from radproof.models.card import ModelCard
from radproof.models.classifier import ImageClassifier
from radproof.models.opening import Told, card_of, is_own, model_file, open_model

T = TypeVar("T")
_LINE = 1 << 20  # bytes of one answer at most


def open_path(path: Path, *, cache: Path | None = None, progress: Progress = SILENT, **how: Any) -> Manifest:
    """Open any data set by its path; `how` are keys of a plan's data section. `cache` is needed to resize."""
    data = data_plan(path, **how)
    if cache is None and (data.size is not None or data.kind in READERS):
        raise BadInput(f"{path} has to be decoded or resized first; do so with `radproof data import --out FOLDER`")
    return open_manifest(data, cache or path, progress)


def data_plan(path: Path, **how: Any) -> DataPlan:
    """A plan's data section for what lies at a path."""
    kind = kind_of(path, labelled=bool(how.get("labels")))
    return checked(DataPlan, {"kind": kind, "path": str(path), **how}, "data")


def opened(model: Path, device: torch.device) -> tuple[ImageClassifier, ModelCard]:
    """A classifier and its card. Raises BadModel for a file without a card: nothing here would show a wrong guess."""
    require_card(model)
    return open_model(model, device, Told())


def require_card(model: Path) -> None:
    """Raises BadModel where there is no model, or a stranger's file without a card."""
    if not is_own(model) and card_of(model_file(model), Told()) is None:
        raise BadModel(
            f"nothing says how {model.name} takes its images and what it answers; try it and write its card: "
            f"`radproof model check {model.name} --data IMAGES --write`"
        )


def stranger(model: Path) -> bool:
    """Whether a model is to be opened in a guarded process, and this is none. Raises BadModel as require_card does."""
    require_card(model)
    return not is_own(model) and not inside()


def make_guard(
    model: Path, data: Path, out: Path, lesson: Lesson, how: Mapping[str, Any], progress: Progress = SILENT
) -> GuardCard:
    """Teach a detector and write it; `how`: split, seed, other_data and device."""
    if not stranger(model):
        return _make_guard(model, data, out, lesson, progress=progress, **how)
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "guard.safetensors"
        call(
            "radproof.assess.in_use:guard_task",
            {
                "model": str(model.resolve()),
                "data": str(data.resolve()),
                "out": str(file),
                "lesson": vars(lesson),
                "how": dict(how),
            },
            read=[*of_model(model), *roots(data)],
            write=[Path(made)],
            progress=progress,
        )
        card = read_guard_card(file)
        write_bytes(out, file.read_bytes())
    return card


def guard_task(
    model: str, data: str, out: str, lesson: Mapping[str, Any], how: Mapping[str, Any], progress: Progress = SILENT
) -> None:
    """What the guarded process does."""
    _make_guard(Path(model), Path(data), Path(out), Lesson(**lesson), progress=progress, **how)


def _make_guard(
    model: Path,
    data: Path,
    out: Path,
    lesson: Lesson,
    *,
    split: str,
    seed: int,
    other_data: bool,
    device: str,
    progress: Progress,
) -> GuardCard:
    where = resolve(device)
    network, card = opened(model, where)
    clean = open_path(data, progress=progress, split=split, seed=seed)
    source = source_of(card, clean, other=other_data)
    return save_guard(out, teach(network, clean, lesson, where, progress, source=source))


def flag(
    model: Path, clean: Path, images: Path, out: Path, how: Mapping[str, Any], progress: Progress = SILENT
) -> tuple[Manifest, tuple[Flag, ...]]:
    """Teach detectors on a clean data set and judge a manifest's images; what they said is left in `out`.

    `how`: detectors, rate, split, seed, other_data and device.
    """
    if not stranger(model):
        return _flag(model, clean, images, out, progress=progress, **how)
    with new_folder(out), answers() as kept:
        call(
            "radproof.assess.in_use:flag_task",
            {
                "model": str(model.resolve()),
                "clean": str(clean.resolve()),
                "images": str(images.resolve()),
                "out": str(out.resolve()),
                "kept": str(kept.path),
                "how": dict(how),
            },
            read=[*of_model(model), *roots(clean), *roots(images)],
            write=[out, kept.path.parent],
            progress=progress,
        )
        told, lies = Manifest.read(out), Manifest.read(images.resolve()).root
        if told.root.resolve() != lies.resolve():
            raise BadModel("the model file was stopped: its answers are not in order; check where it is from")
        return told, tuple(kept.read(Flag))


def flag_task(
    model: str, clean: str, images: str, out: str, kept: str, how: Mapping[str, Any], progress: Progress = SILENT
) -> None:
    """What the guarded process does."""
    _, flags = _flag(Path(model), Path(clean), Path(images), Path(out), progress=progress, **how)
    Answers(Path(kept)).keep(flags)


def _flag(
    model: Path,
    clean: Path,
    images: Path,
    out: Path,
    *,
    detectors: Sequence[str],
    rate: float,
    split: str,
    seed: int,
    other_data: bool,
    device: str,
    progress: Progress,
) -> tuple[Manifest, tuple[Flag, ...]]:
    network, card = opened(model, resolve(device))
    usual = open_path(clean, progress=progress, split=split, seed=seed)
    source_of(card, usual, other=other_data)
    judged = Manifest.read(images)
    require_empty(out)
    told, flags = flag_images(network, usual, judged, detectors, rate=rate, seed=seed, progress=progress)
    told.write(out / NAME)
    return told, flags


def require_empty(out: Path) -> None:
    """Raises BadInput for a folder that holds something, and for a file."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists and is not empty; choose another --out")


def roots(data: Path) -> list[Path]:
    """Where the files of a data set lie that is opened by its path."""
    return of_data(data_plan(data.resolve()))


class Answers:
    """A file in which a guarded process leaves its answers, one a line: there may be more than one message holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, said: Iterable[Any]) -> None:
        """Write dataclasses or records."""
        with self.path.open("wb") as stream:
            for one in said:
                stream.write(TypeAdapter[Any](type(one)).dump_json(one) + b"\n")

    def read(self, kind: type[T]) -> Iterator[T]:
        """Read them back, with distrust. Raises BadModel for what is not in order."""
        known = TypeAdapter(kind)
        try:
            with self.path.open("rb") as stream:
                while line := stream.readline(_LINE):
                    yield known.validate_json(line)
        except (ValueError, OSError):
            raise BadModel("the model file was stopped: its answers are not in order; check where it is from") from None


@contextmanager
def answers() -> Generator[Answers]:
    """A place for them that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield Answers(Path(folder) / "answers")
