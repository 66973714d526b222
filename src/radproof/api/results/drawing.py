# SPDX-License-Identifier: Apache-2.0
"""Defended pictures and Grad-CAM overlays of any image of a finished run, drawn in a guarded process when asked for."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radproof import __version__
from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.api.results.finished import folder
from radproof.api.results.images import ImageRow, RunImages, run_images
from radproof.api.results.pictures import Shown, picture, png, shape, source, tag
from radproof.api.screening.drawers import Subject
from radproof.api.service import Service
from radproof.store.tables import Model, Run

_GONE = "the run's model was removed, so this picture cannot be drawn"
_DRAWN: BoundedCache[bytes] = BoundedCache(1000, 32 * MEBIBYTE, len)


@dataclass(frozen=True)
class Classes:
    """The numbers of the classes that heat maps speak for; None: what the model itself answers."""

    before: int | None
    after: int | None


def shown(service: Service, who: Caller, run: Run, name: str, kind: str, *, stored: bool = False) -> Shown:
    """A picture as the run keeps it, or else drawn; the same bytes each time.

    Raises Problem 404 with the reason where there can be none, 422 where it cannot be drawn, 429, 503.
    """
    images = run_images(service.settings, run)
    row = images.one(name)
    if stored or kind not in row.drawn:
        return picture(service.settings, run, name, kind, stored=stored)
    subject = _subject(service, run, images)
    key = run.id, _mark(tag(service.settings, run, name, kind, stored), subject)
    known = _DRAWN.known(key)
    if known is None:
        service.limits.take("screen", who.user_id)
        drawers = service.screeners.drawers

        def make() -> bytes:
            with drawers.place():
                return _draw(service, run, images, row, kind, subject)

        with drawers.asking():
            known = _DRAWN.get(key, make)
    return Shown(known)


def mark(service: Service, run: Run, name: str, kind: str, stored: bool) -> str:
    """What a picture's entity tag is made of; of one that is drawn, also who draws it.

    Raises Problem 404 for no such image, and where the model that would draw is gone.
    """
    images = run_images(service.settings, run)
    row, own = images.one(name), tag(service.settings, run, name, kind, stored)
    return own if stored or kind not in row.drawn else _mark(own, _subject(service, run, images))


def _mark(own: str, subject: Subject) -> str:
    told = [own, __version__, subject.name, subject.version]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def classes(images: RunImages, row: ImageRow) -> Classes:
    """Before: the truth; attacked: the model's answer. Of findings side by side: the one whose answer moved most."""
    table, told = images.table, images.drawable
    at = table.named(row.id)
    assert at is not None
    if told.head == "softmax":
        truth = told.labels.index(row.truth) if row.truth in told.labels else None
        return Classes(truth, int(table.logits[at].argmax()) if row.defense == "none" else None)
    clean = int(table.clean[at])
    moved = int(np.abs(table.logits[at] - table.logits[clean]).argmax()) if clean >= 0 else None
    return Classes(moved, moved)


def _draw(service: Service, run: Run, images: RunImages, row: ImageRow, kind: str, subject: Subject) -> bytes:
    settings = service.settings
    of = "original" if kind == "cam_before" else "attacked"
    content, top = source(settings, run, row.id, of)
    height, width, channels = shape(content)
    del content  # nothing large is kept while this waits for its turn
    with suppress(Problem):  # colour whose channels agree is stored as grey; the model takes what the original has
        channels = max(channels, shape(source(settings, run, row.id, "original")[0])[2])
    question: dict[str, Any] = {"kind": kind, "top": top, "channels": channels}
    found = service.screeners.drawers.draw(
        subject,
        lambda: source(settings, run, row.id, of)[0],
        question | _wanted(images, row, kind),
        (height, width),
    )
    grey = found.shape[2] == 3 and bool((found == found[:, :, :1]).all())
    return png((found[:, :, :1] if grey else found).astype(np.float32) / np.float32(255))


def _wanted(images: RunImages, row: ImageRow, kind: str) -> dict[str, Any]:
    told = images.drawable
    if kind != "defended":
        found = classes(images, row)
        return {"class_": found.before if kind == "cam_before" else found.after}
    parts, label = told.parts(row.defense)
    seed = [told.seed, "gallery", row.id]
    return {"defenses": [dict(part) for part in parts], "label": label, "preset": told.preset, "seed": seed}


def _subject(service: Service, run: Run, images: RunImages) -> Subject:
    """The run's own model, where it trained one, else that of the shelf. Raises Problem 404 where it is gone."""
    told = images.drawable
    own = folder(service.settings, run) / "model"
    if (own / "card.yaml").is_file() and not own.is_symlink():
        return Subject(run.id, own, own, told.fingerprint, told.labels, _state(own))
    with service.database.reading() as session:
        model = session.get(Model, run.model_id) if run.model_id else None
    if model is None or model.state != "ready":
        raise Problem(404, _GONE)
    path = service.settings.home.resolve() / model.path
    return Subject(
        model.id,
        path,
        service.settings.folder("models", model.id),
        told.fingerprint,
        told.labels,
        f"{model.fingerprint} {_state(path)}",
    )


def _state(model: Path) -> str:
    """What tells the model at this path from another that takes its place. Raises Problem 404 where there is none."""
    found: list[str] = []
    for file in (model, *(model / name for name in ("card.yaml", "weights.safetensors"))):
        with suppress(OSError):
            told = file.stat()
            found += [f"{told.st_mtime_ns} {told.st_size}"] if file.is_file() else []
    if not found:
        raise Problem(404, _GONE)
    return " ".join(found)
