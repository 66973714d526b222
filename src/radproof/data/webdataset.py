# SPDX-License-Identifier: Apache-2.0
"""WebDataset shards: tar archives in which files of one name and several endings make one sample."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast

from radproof.core.names import nearest
from radproof.core.progress import SILENT, Progress
from radproof.data.damaged import Damage, refuse
from radproof.data.folder import FOLD_FOLDERS
from radproof.data.images import StoredImage, decode_image
from radproof.data.inventory import parse_age, pseudonym, sample_id
from radproof.data.label_columns import plain_text
from radproof.data.manifest import Manifest, Sample
from radproof.data.pictures import Picture, materialise
from radproof.data.shards import Member, content, members, shard_paths
from radproof.errors import BadData, UnknownName

IMAGES = ("png", "jpg", "jpeg", "tif", "tiff")
_LABELS = ("json", "cls", "txt")  # the first that is there counts
_NAMES = ("label", "class", "cls", "finding", "labels", "findings")
_MOST = {"json": 65_536, "cls": 1024, "txt": 1024}  # bytes


def read_webdataset(
    path: Path,
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    damaged: Damage = refuse,
    progress: Progress = SILENT,
) -> Manifest:
    """Every sample with an image and a label, its image as a PNG in `out`.

    `path` is a shard, a folder of them or a pattern (shard-{000..003}.tar). Labels stand in NAME.json (label, class or
    finding; perhaps patient, view, age, sex), NAME.cls or NAME.txt: a class, or its number, which counts in `classes`
    where these are given. Shards named train…, val… and test… are folds. Raises BadData for archives that hold anything
    but plain files, samples with two images, and labels without sense; UnknownName for one that is none of `classes`.
    """
    shards = shard_paths(path)
    folds = [_fold(shard) for shard in shards]
    entries: list[_Entry] = []
    left_out = {"without an image": 0, "without a label": 0}
    for shard, fold in zip(shards, folds, strict=True):
        for key, parts in _grouped(shard).items():
            image = _image(parts, f"{shard.name}: {key}")
            label = next((parts[suffix] for suffix in _LABELS if suffix in parts), None)
            if image is None or label is None:
                left_out["without an image" if image is None else "without a label"] += 1
                continue
            entries.append(_entry(shard, image, label, fold if all(folds) else "", classes, multi_label))
    names = _classes(entries, classes, multi_label)
    source = {
        "kind": "webdataset",
        "shards": len(shards),
        "classes": list(names),
        "multi_label": multi_label,
        "left_out": left_out,
        "patients": "table" if entries and all(entry.sample.patient for entry in entries) else "unknown",
    }
    head = "sigmoid" if multi_label else "softmax"
    pictures = [Picture(entry.sample, partial(_decode, entry.shard, entry.image)) for entry in entries]
    return materialise(pictures, out, labels=names, head=head, source=source, damaged=damaged, progress=progress)


@dataclass(frozen=True)
class _Entry:
    shard: Path
    image: Member
    sample: Sample


def _grouped(shard: Path) -> dict[str, dict[str, Member]]:
    """Key -> suffix -> member; the key is the path up to the name's first dot."""
    found: dict[str, dict[str, Member]] = {}
    for member in members(shard):
        path = PurePosixPath(member.name)
        stem, _, suffix = path.name.partition(".")
        if not stem or path.name.startswith("__"):
            continue
        parts = found.setdefault((path.parent / stem).as_posix(), {})
        if suffix.lower() in parts:
            raise BadData(f"{shard.name}: {member.name[:80]!r} is there twice; build the shard anew")
        parts[suffix.lower()] = member
    return found


def _image(parts: Mapping[str, Member], where: str) -> Member | None:
    images = [member for suffix, member in parts.items() if suffix.rpartition(".")[2] in IMAGES]
    if len(images) > 1:
        raise BadData(f"{where[:120]} has {len(images)} images; keep the one that the label is of")
    return images[0] if images else None


def _entry(
    shard: Path, image: Member, label: Member, fold: str, classes: Sequence[str] | None, multi_label: bool
) -> _Entry:
    where = f"{shard.name}: {label.name[:80]}"
    suffix = label.name.rpartition(".")[2].lower()
    if label.size > _MOST[suffix]:
        raise BadData(f"{where} holds {label.size:,} bytes; a label takes at most {_MOST[suffix]:,}")
    told = _told(content(shard, label), suffix, where)
    labels = _labels(told, classes, multi_label, where)
    path = f"{shard.name}/{image.name}"
    sample = Sample(sample_id(path), path, pseudonym(_text(told, ("patient", "patient_id"))), labels, fold)
    view = plain_text(_text(told, ("view",)), "view", where=where)
    sex = plain_text(_text(told, ("sex", "gender")), "sex", where=where)
    return _Entry(shard, image, replace(sample, view=view, age=parse_age(_text(told, ("age",))), sex=sex))


def _told(raw: bytes, suffix: str, where: str) -> Mapping[str, Any]:
    try:
        text = raw.decode("utf-8-sig").strip()
        if suffix != "json":
            return {"label": text}
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise BadData(f"{where} is not readable {'JSON' if suffix == 'json' else 'UTF-8 text'}") from None
    return cast(dict[str, Any], told) if isinstance(told, dict) else {"label": told}


def _labels(told: Mapping[str, Any], classes: Sequence[str] | None, multi_label: bool, where: str) -> tuple[str, ...]:
    given = next((told[name] for name in _NAMES if name in told), None)
    several = cast(list[Any], given) if isinstance(given, list) else [given]
    if given is None or (len(several) != 1 and not multi_label):
        raise BadData(
            f"{where}: {'no label' if given is None else f'{len(several)} labels'}; expected one (or multi_label)"
        )
    return tuple(dict.fromkeys(_label(one, classes, where) for one in several))


def _label(given: object, classes: Sequence[str] | None, where: str) -> str:
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        raise BadData(f"{where}: a label must be a class's name or number; got {type(given).__name__}")
    text = str(given).strip()
    if (
        classes
        and text not in classes
        and text.isascii()
        and text.isdigit()
        and len(text) < 6
        and int(text) < len(classes)
    ):
        return classes[int(text)]
    label = plain_text(text, "label", where=where, wanted=True)
    if classes and label not in classes:
        raise UnknownName(f"{where}: unknown label {label[:80]!r}{nearest(label[:80], classes)}")
    return label


def _classes(entries: Sequence[_Entry], classes: Sequence[str] | None, multi_label: bool) -> tuple[str, ...]:
    found = {label for entry in entries for label in entry.sample.labels}
    numbers = all(label.isascii() and label.isdigit() for label in found)
    names = tuple(dict.fromkeys(classes)) if classes else tuple(sorted(found, key=int if numbers else str))
    if entries and len(names) < 2 and not multi_label:
        raise BadData(f"a classifier needs at least two classes; the shards show {', '.join(names)}")
    return names


def _text(told: Mapping[str, Any], names: Sequence[str]) -> str:
    given = next((told[name] for name in names if name in told), "")
    return str(given).strip() if isinstance(given, (str, int)) else ""


def _fold(shard: Path) -> str:
    return FOLD_FOLDERS.get(re.split(r"[-_.]", shard.name.lower())[0], "")


def _decode(shard: Path, image: Member) -> StoredImage:
    return decode_image(content(shard, image))
