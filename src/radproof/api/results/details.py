# SPDX-License-Identifier: Apache-2.0
"""What is known of one image beyond its row: how it was made, its hashes, what detectors and defences said of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from radproof.api.http.problems import Problem
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.api.results.finished import ROWS, Stamp, finished, scrubbed
from radproof.api.results.images import Filters, ImageRow, RunImages
from radproof.api.results.showing import Showing
from radproof.assess.result import Picture
from radproof.reports.facts import shortened
from radproof.reports.words import plain
from radproof.store.settings import Settings
from radproof.store.tables import Run

_SOME = 4096  # rows that are unpacked at a time
_NAMES = {
    "draw": "Drawn as a phantom",
    "attack": "Attacked",
    "corruption": "Corrupted",
    "quantise": "Rounded to the stored grey levels",
    "defense": "Defended",
    "network": "Answered by a hardened network",
}
_HASHES = ("of_sha256", "model", "fingerprint", "sha256")


@dataclass(frozen=True)
class Step:
    """One transformation of the chain that made an image."""

    title: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Suspicion:
    """What a detector made of the image."""

    detector: str
    score: str
    threshold: str  # "" where it promises nothing
    flagged: bool | None  # None: no threshold to judge by


@dataclass(frozen=True)
class Details:
    """Of one image."""

    facts: tuple[tuple[str, str], ...]
    chain: tuple[Step, ...]
    suspicions: tuple[Suspicion, ...]
    behind: tuple[ImageRow, ...]  # the same file as each defence made the model answer it
    picture: Picture | None  # of the gallery, where it has a defended picture or heat maps


def _size(told: Mapping[str, Any]) -> int:
    return sum(100 + len(str(value)) for value in told.values())


_DETAILS: BoundedCache[dict[str, Any]] = BoundedCache(256, 8 * MEBIBYTE, _size)


def details(settings: Settings, run: Run, shown: Showing, images: RunImages, image: ImageRow) -> Details:
    """Of an image of a finished run. Raises Problem 404 where its row cannot be read."""
    at = images.table.named(image.id)
    file = finished(settings, run, ROWS)
    if at is None:
        raise Problem(404, "no image of that name in this run")
    told = _DETAILS.get((file, at), lambda: _row(file, at))
    return Details(
        _facts(told),
        _chain(scrubbed(str(told.get("chain") or "[]"), settings.home.resolve())),
        _suspicions(told, shown),
        _behind(images, image),
        _picture(shown, image),
    )


def _row(file: Stamp, at: int) -> dict[str, Any]:
    try:
        with pq.ParquetFile(file.path) as opened:
            names = opened.schema_arrow.names
            wanted = [n for n in names if n in ("chain", "sha256", "view", "l2", "psnr") or n.startswith("suspicion_")]
            for batch in opened.iter_batches(_SOME, columns=wanted):
                if at < batch.num_rows:
                    return batch.slice(at, 1).to_pylist()[0]
                at -= batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise Problem(404, "the table of this run's images cannot be read; retry the run") from error
    raise Problem(404, "no image of that name in this run")


def _facts(told: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    pairs = (
        ("View", str(told.get("view") or "")),
        ("L2 distance", _number(told.get("l2"))),
        ("PSNR", f"{_number(told.get('psnr'))} dB" if _number(told.get("psnr")) else ""),
        ("sha256 of the stored file", str(told.get("sha256") or "")),
    )
    return tuple((name, value) for name, value in pairs if value)


def _number(value: Any) -> str:
    return plain(float(value)) if isinstance(value, float) and value == value else ""


def _chain(text: str) -> tuple[Step, ...]:
    try:
        steps: Any = json.loads(text)
    except ValueError:
        return ()
    return tuple(_step(dict[str, Any](step)) for step in list[Any](steps) if isinstance(step, Mapping))


def _step(step: dict[str, Any]) -> Step:
    kind = str(step.pop("step", ""))
    name = step.pop("label", None) or step.pop("name", None)
    title = _NAMES.get(kind, kind.replace("_", " ").capitalize())
    facts = [(key.replace("_", " "), _said(key, value)) for key, value in step.items() if value not in ("", None, {})]
    return Step(f"{title}: {name}" if name else title, tuple(facts))


def _said(key: str, value: Any) -> str:
    value = shortened(value)
    if isinstance(value, Mapping):
        return ", ".join(
            f"{inner}={json.dumps(one, ensure_ascii=False)}" for inner, one in dict[str, Any](value).items()
        )
    if isinstance(value, float):
        return plain(value)
    if key in _HASHES:
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _suspicions(told: Mapping[str, Any], shown: Showing) -> tuple[Suspicion, ...]:
    found: list[Suspicion] = []
    for name, value in told.items():
        if not name.startswith("suspicion_") or not _number(value):
            continue
        detector = name.removeprefix("suspicion_")
        known = next((one for one in shown.result.detection if one.detector == detector), None)
        limit = known.threshold if known and not known.by else None
        flagged = None if limit is None else bool(value > limit)
        found.append(Suspicion(detector, _number(value), "" if limit is None else plain(limit), flagged))
    return tuple(found)


def _behind(images: RunImages, image: ImageRow) -> tuple[ImageRow, ...]:
    same = Filters(
        sample=image.sample, attack=image.attack, budget=image.budget, goal=image.goal, made_on=image.made_on
    )
    return tuple(one for one in images.page(same, limit=100)[0] if one.column == image.column)


def _picture(shown: Showing, image: ImageRow) -> Picture | None:
    if image.goal not in ("", "misclassify") or image.defense != "none" or image.column != "oblivious":
        return None
    wanted = (image.sample, image.attack, image.budget)
    return next((one for one in shown.result.gallery if (one.sample, one.attack, one.budget) == wanted), None)
