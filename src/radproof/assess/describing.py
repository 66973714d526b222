# SPDX-License-Identifier: Apache-2.0
"""What a model file is: opened in a guarded process, described, timed on one image; no data are needed for that."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from radproof.assess.in_use import data_plan
from radproof.assess.inspecting import Inspection, inspect
from radproof.assess.reading import of_data, of_model
from radproof.assess.sections import DataPlan, ModelPlan
from radproof.assess.sheltered import call, said
from radproof.core.device import resolve
from radproof.core.files import sha256_file, write_text
from radproof.core.progress import SILENT, Progress
from radproof.core.records import Record
from radproof.data.zipped import Limits, unpack_zip
from radproof.errors import BadData, BadModel, NoGradient
from radproof.models.assembly import assembled, guessed
from radproof.models.card import CARD, WEIGHTS, ModelCard, load_model, read_card_file
from radproof.models.classifier import ImageClassifier
from radproof.models.conventions import card_line
from radproof.models.importers.kinds import Kind, refusal, what_is
from radproof.models.opening import Told, card_of, is_own, model_file, open_model, read_network

SUFFIXES: dict[Kind, str] = {
    "safetensors": ".safetensors", "torch-zip": ".pt", "pt2": ".pt2", "onnx": ".onnx", "keras": ".keras",
    "hdf5": ".h5",
}  # fmt: skip
FACTS = "about.json"
MODEL = "model"  # what an uploaded file is called here, before its suffix
_OWN = Limits(entries=64, entry=8 * 10**9, total=8 * 10**9, ratio=20)
_TIMES = 3
Access = Literal["white-box", "black-box"]


class Seconds(Record):
    """Of one image, on the machine that was asked."""

    forward: float
    gradient: float | None  # None: the answer has none


class Described(Record):
    """A model as it lies in its folder."""

    format: str  # "radproof", or the kind of a stranger's file
    file: str  # "" or the model file's name within its folder
    card: dict[str, Any] | None  # None: nothing says how it takes its images; data can
    line: str = ""  # the card on one line of YAML
    needs: Literal["", "data"] = ""
    architecture: str
    labels: tuple[str, ...]  # () where nothing names them
    head: str
    classes: int
    parameters: int
    input: tuple[int, int, int]  # channels, height, width
    fingerprint: str
    access: Access
    phantom: bool
    seconds: Seconds
    sha256: str = ""  # of the file, or of the weights
    bytes: int = 0
    notes: tuple[str, ...] = ()
    check: Inspection | None = None  # what labelled images said
    guard: tuple[str, ...] = ()


def import_model(
    upload: Path,
    out: Path,
    *,
    card: Path | None = None,
    architecture: str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Described:
    """Keep a model file, or a zip of radproof's own folder, in the folder `out`, opened once; whole or not at all.

    Found there again if an earlier call finished. Raises BadModel and BadData for what is not opened, and why.
    """
    if (out / FACTS).is_file():
        return Described.model_validate_json((out / FACTS).read_bytes())
    shutil.rmtree(out, ignore_errors=True)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    try:
        place = _placed(upload, part, card)
        found = describe_model(place, architecture=architecture, device=device, progress=progress)
        write_text(part / FACTS, found.model_dump_json(indent=1))
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return found


def describe_model(
    model: Path,
    *,
    architecture: str | None = None,
    data: Path | None = None,
    write: bool = False,
    cache: Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Described:
    """What a model is; with labelled images also whether they reach it as it learnt them.

    `write`: the likely card is left beside a file that has none. Everything is opened in a guarded process.
    """
    check = None
    if data is not None:
        check = _checked(model, data, architecture, cache or data, device, progress)
        if write and not is_own(model) and card_of(model_file(model), Told()) is None:
            _write_card(model_file(model), check.likely or check.line)
    done = call(
        "radproof.assess.describing:task",
        {"model": str(model.resolve()), "architecture": architecture, "device": device},
        read=of_model(model),
        write=[],
        progress=progress,
    )
    return said(Described, done.value).model_copy(update={"guard": done.level, "check": check})


def task(model: str, architecture: str | None, device: str, progress: Progress = SILENT) -> dict[str, Any]:
    """What the guarded process does."""
    return _describe(Path(model), architecture, resolve(device), progress).model_dump(mode="json")


def check_task(
    model: dict[str, Any], data: dict[str, Any], cache: str, device: str, progress: Progress = SILENT
) -> dict[str, Any]:
    """The same, of a model and labelled images."""
    told = ModelPlan.model_validate(model), DataPlan.model_validate(data)
    return inspect(*told, Path(cache), device, progress).model_dump(mode="json")


def _checked(
    model: Path, data: Path, architecture: str | None, cache: Path, device: str, progress: Progress
) -> Inspection:
    plan = data_plan(data.resolve())
    own = is_own(model) or card_of(model_file(model), Told()) is not None
    told = ModelPlan(path=str(model.resolve()), architecture=None if own else architecture)
    done = call(
        "radproof.assess.describing:check_task",
        {
            "model": told.model_dump(mode="json"),
            "data": plan.model_dump(mode="json"),
            "cache": str(cache.resolve()),
            "device": device,
        },
        read=[*of_model(model), *of_data(plan)],
        write=[] if cache == data else [cache],
        progress=progress,
    )
    return said(Inspection, done.value).model_copy(update={"guard": done.level})


def _write_card(file: Path, line: str) -> None:
    """What a guarded process said is read as a card first: only a card is written."""
    said_so = file.with_name(f".{file.stem}.said.yaml")
    try:
        write_text(said_so, line + "\n")
        card = read_card_file(said_so)
    finally:
        said_so.unlink(missing_ok=True)
    write_text(file.with_name(f"{file.stem}.card.yaml"), card_line(card) + "\n")


def _placed(upload: Path, part: Path, card: Path | None) -> Path:
    """The model within its new folder: what `--model` takes."""
    kind = what_is(upload)
    if kind == "zip":
        return _own_folder(upload, part, card)
    if kind not in SUFFIXES:
        raise BadModel(refusal(Path(MODEL), kind) or "the file is no model")
    file = part / f"{MODEL}{SUFFIXES[kind]}"
    try:
        file.hardlink_to(upload)
    except OSError:
        shutil.copyfile(upload, file)
    if card is not None:
        write_text(part / f"{MODEL}.card.yaml", card_line(read_card_file(card)) + "\n")
    return file


def _own_folder(upload: Path, part: Path, card: Path | None) -> Path:
    inside = part / "inside"
    try:
        unpack_zip(upload, inside, limits=_OWN)
    except BadData as error:
        raise BadModel(str(error)) from None
    root = inside
    while not (root / CARD).is_file() and [one.is_dir() for one in root.iterdir()] == [True]:
        root = next(root.iterdir())
    if not (root / CARD).is_file() or not (root / WEIGHTS).is_file():
        raise BadModel(
            f"a zip archive of a model holds radproof's own {CARD} and {WEIGHTS}; this one does not: give another "
            "framework's file itself"
        )
    if card is not None:
        raise BadModel("radproof's own folder has a card of its own; leave the other one out")
    for name in (CARD, WEIGHTS):
        (root / name).rename(part / name)
    shutil.rmtree(inside)
    return part


def _describe(model: Path, architecture: str | None, device: torch.device, progress: Progress) -> Described:
    progress.start("open the model", 2)
    if is_own(model):
        network, card = load_model(model, device)
        told: dict[str, Any] = {"format": "radproof", "file": "", "sha256": card.weights_sha256}
        told["bytes"] = (model / WEIGHTS).stat().st_size
        stated: ModelCard | None = card
    else:
        file = model_file(model)
        stated = card_of(file, Told())
        if stated is None:
            network, card = _unstated(file, architecture, device)
        else:
            network, card = open_model(file, device, Told())
            stated = card
        told = {"format": what_is(file), "file": file.name, "sha256": sha256_file(file), "bytes": file.stat().st_size}
    progress.advance("open the model")
    seconds = _timed(network, card, device)
    progress.advance("open the model")
    return Described(
        **told,
        card=stated.model_dump(mode="json", exclude_defaults=True) if stated else None,
        line=card_line(stated) if stated else "",
        needs="" if stated else "data",
        architecture=card.architecture,
        labels=card.labels if stated else (),
        head=card.head,
        classes=len(card.labels),
        parameters=_parameters(network),
        input=(card.channels, *card.size),
        fingerprint=network.fingerprint(),
        access="white-box" if seconds.gradient is not None else "black-box",
        phantom=card.phantom,
        seconds=seconds,
        notes=card.notes,
    )


def _parameters(network: ImageClassifier) -> int:
    """Of a stranger's graph, weights may be mere buffers."""
    told = sum(one.numel() for one in network.parameters())
    return told or sum(one.numel() for one in network.state_dict().values() if one.is_floating_point())


def _unstated(file: Path, architecture: str | None, device: torch.device) -> tuple[ImageClassifier, ModelCard]:
    """A file without a card, as far as it can be told without data: its classes go by numbers."""
    found = read_network(file, architecture)
    labels = [f"class {number + 1}" for number in range(max(found.classes, 2))]
    card = guessed(found, labels, found.head or "softmax", architecture=architecture or what_is(file), name="")
    card = card.model_copy(update={"imported": sha256_file(file), "notes": found.notes})
    return assembled(found, card).freeze().to(device), card


def _timed(network: ImageClassifier, card: ModelCard, device: torch.device) -> Seconds:
    x = torch.full((1, card.channels, *card.size), 0.5, device=device)

    def forward() -> None:
        with torch.no_grad():
            network(x)

    def gradient() -> None:
        tried = x.clone().requires_grad_(True)
        torch.autograd.grad(network(tried).sum(), tried)

    try:
        back = _seconds(gradient, device)
    except (NoGradient, RuntimeError):
        back = None
    return Seconds(forward=_seconds(forward, device), gradient=back)


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    found: list[float] = []
    for _ in range(1 + _TIMES):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return round(median(found[1:]), 6)
