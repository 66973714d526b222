# SPDX-License-Identifier: Apache-2.0
"""A stranger's zip archive becomes a data set: PNG files and a manifest, nothing of the originals, and what was found.

All of it is done in one guarded process. What the archive's files and folders are called may name patients, so no
sentence that leaves here repeats it; only classes keep the names that they were given.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radproof.assess.data_set import open_manifest
from radproof.assess.plan import checked
from radproof.assess.received import Received, facts_of
from radproof.assess.sections import DataPlan
from radproof.assess.sheltered import call, said
from radproof.assess.unnamed import Unnamed
from radproof.assess.unreadable import Unreadable
from radproof.core.files import write_text
from radproof.core.progress import SILENT, Progress
from radproof.data.augmented import STEP, is_augmented
from radproof.data.foreign import READERS
from radproof.data.inventory import check_classes, pseudonym, sample_id, secret_of
from radproof.data.kinds import kind_of
from radproof.data.label_columns import plain_text
from radproof.data.load import read_pixels, store
from radproof.data.manifest import FOLDS, NAME, Manifest, Sample
from radproof.data.nifti import SUFFIXES as VOLUMES
from radproof.data.pool import each
from radproof.data.table import inner_path, read_table
from radproof.data.zipped import Unpacked, unpack_zip
from radproof.errors import BadData, BadImage, RadproofError

FACTS = "about.json"
_LABELS = ("label", "class", "finding", "finding_labels", "finding labels")
_SOURCE = ("kind", "split", "seed", "patients", "multi_label", "count", "size", "inflated")  # of a stranger's manifest
_WORD = 40  # characters of what is kept of it


def receive(
    archive: Path, out: Path, *, labels: Path | None = None, progress: Progress = SILENT, **how: Any
) -> Received:
    """Import an archive into the folder `out`, whole or not at all; found there again if an earlier call finished.

    A few files that cannot be read are left out, and told. `how`: classes, multi_label, label_tag, strict (no file may
    be left out). Raises BadData or BadImage, in words without names of files; StorageFull.
    """
    if (out / FACTS).is_file():
        return Received.model_validate_json((out / FACTS).read_bytes())
    shutil.rmtree(out, ignore_errors=True)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    arguments = {
        "archive": str(archive.resolve()),
        "out": str(part.resolve()),
        "labels": str(labels.resolve()) if labels else None,
        "how": how,
    }
    try:
        done = call(
            "radproof.assess.receiving:task",
            arguments,
            read=[archive, *([labels] if labels else [])],
            write=[part],
            what="the archive",
            blame=BadData,
            progress=progress,
        )
        found = said(Received, done.value).model_copy(update={"guard": done.level})
        write_text(part / FACTS, found.model_dump_json(indent=1))
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return found


def task(
    archive: str, out: str, labels: str | None, how: Mapping[str, Any], progress: Progress = SILENT
) -> dict[str, Any]:
    """What the guarded process does."""
    folder, words = Path(out), Unnamed()
    work = folder / "work"
    try:
        unpacked = unpack_zip(Path(archive), work / "in", progress=progress)
        words.files(unpacked.paths)
        root, above = _inner(work / "in")
        table = Path(labels) if labels else _table(root)
        words.table(table)
        numbers = {path: number for number, path in enumerate(unpacked.paths, 1)}
        left = Unreadable(numbers, above, words, root, strict=bool(how.get("strict")))
        how = {name: value for name, value in how.items() if name != "strict"}
        return _import(root, left, table, folder, unpacked, how, progress).model_dump(mode="json")
    except RadproofError as error:
        raise type(error)(words.without(str(error), work)) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _import(
    root: Path,
    left: Unreadable,
    table: Path | None,
    out: Path,
    unpacked: Unpacked,
    how: Mapping[str, Any],
    progress: Progress,
) -> Received:
    kind, told = _told(root, table)
    plan = checked(DataPlan, {"kind": kind, "path": str(root), **told, **how}, "data")
    cache = root.parent / "cache" if root.is_file() else out / "work" / "cache"
    try:
        found = open_manifest(plan, cache, progress, damaged=left.add)
    except BadData as error:
        raise BadData(
            f"{error}; {len(left)} file(s) cannot be read: {left.listed()}" if len(left) else str(error)
        ) from None
    for label in found.labels:
        plain_text(label, "name of a class", where="the data", wanted=True)
    if kind == "manifest":
        found = _own_words(found, root)
    if kind in READERS:
        damaged = left.facts(_files(kind, found, unpacked, left))
        (found.root / "images").rename(out / "images")
        made = found = Manifest(out, *_rest(found))
    else:
        made = _stored(found, out, left, progress)
        damaged = left.facts(len(made))
        check_classes(made.samples, made.labels, remedy="its images cannot be read")
        kept = {sample.id for sample in made.samples}
        found = found.only(sample for sample in found.samples if sample.id in kept)
    made.write(out / NAME)
    return facts_of(made, found, kind, left.excluded(), unpacked, progress, damaged=damaged)


def _rest(found: Manifest) -> tuple[Any, ...]:
    return found.labels, found.samples, found.head, found.source


def _inner(folder: Path) -> tuple[Path, str]:
    """The folder or file that the archive is about, inside any wrapping folders, and what stands before its paths."""
    root = folder
    while True:
        inside = sorted(root.iterdir())
        if len(inside) != 1:
            break
        root = inside[0]
        if root.is_file():
            return root, ""
    return root, "" if root == folder else f"{root.relative_to(folder).as_posix()}/"


def _table(root: Path) -> Path | None:
    """The only table at the top, unless it is the NIH release's own."""
    if not root.is_dir() or any(root.glob("Data_Entry_2017*.csv")):
        return None
    found = [path for path in root.iterdir() if path.suffix.lower() == ".csv"]
    return found[0] if len(found) == 1 else None


def _told(root: Path, table: Path | None) -> tuple[str, dict[str, Any]]:
    """The kind of data, and what its table is to it: labels, or patients where folders are the classes."""
    if table is None:
        kind = kind_of(root)
        if kind == "manifest" and root.is_file() and root.suffix != ".parquet":
            raise BadData(
                "the archive holds a single file, which is no data set; pack a folder per class, or images and a table"
            )
        return kind, {}
    plain = kind_of(root)
    header = {name.strip().lower() for row in read_table(table, ())[:1] for name in row.cells}
    if plain == "folder" and {"path", "patient"} <= header and not header & set(_LABELS):
        return "folder", {"patients": str(table)}
    return kind_of(root, labelled=True), {"labels": str(table)}


def _own_words(found: Manifest, root: Path) -> Manifest:
    """A stranger's manifest, of which nothing is believed but what can be looked at: images below it, plain words."""
    home = _images(found, root if root.is_dir() else root.parent)
    key = secret_of(root / NAME if root.is_dir() else root, "pseudonyms")

    def one(sample: Sample) -> Sample:
        path = inner_path(sample.path, where="the manifest")
        if not (home / path).resolve().is_relative_to(home.resolve()):
            raise BadData("the manifest names an image outside the archive; pack it together with its images")
        return Sample(
            sample_id(path),
            path,
            sample.patient if _is_pseudonym(sample.patient) else pseudonym(sample.patient, key),
            tuple(label for label in sample.labels if label in found.labels),
            fold=sample.fold if sample.fold in FOLDS else "",
            view=plain_text(sample.view, "view", where="the manifest"),
            age=sample.age if sample.age is not None and 0 <= sample.age <= 120 else None,
            sex=plain_text(sample.sex, "sex", where="the manifest"),
            sha256=sample.sha256,
            size=sample.size,
            chain=(STEP,) if is_augmented(sample) else (),
            top=sample.top,
            held=sample.held,
        )

    samples = tuple(map(one, found.samples))
    if found.head == "softmax" and any(len(sample.labels) != 1 for sample in samples):
        raise BadData("the manifest has images without exactly one class")
    source = {key: value for key, value in found.source.items() if key in _SOURCE and _plain(value)}
    return Manifest(home, found.labels, samples, found.head, {"kind": "manifest", **source})


def _images(found: Manifest, folder: Path) -> Path:
    """Where its images lie: beside it, or in the folder beside it that was their root before they were packed."""
    beside = [folder, *(one for one in folder.iterdir() if one.is_dir() and one.name == found.root.name)]
    for place in beside:
        if found.samples and (place / inner_path(found.samples[0].path, where="the manifest")).is_file():
            return place
    raise BadData("the manifest says that its images lie outside the archive; pack it together with its images")


def _is_pseudonym(text: str) -> bool:
    head, _, rest = text.partition("-")
    return head in ("p", "s") and len(rest) == 12 and all(c in "0123456789abcdef" for c in rest)


def _plain(value: object) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and len(value) <= _WORD and value.isidentifier())
    )


def _files(kind: str, found: Manifest, unpacked: Unpacked, left: Unreadable) -> int:
    """How many of the archive's files the images come from."""
    if kind == "dicom":
        return len({sample.chain[0]["from"] for sample in found.samples})
    if kind == "nifti":
        return sum(path.lower().endswith(VOLUMES) for path in unpacked.paths) - len(left)
    return len(found)


def _stored(found: Manifest, out: Path, left: Unreadable, progress: Progress) -> Manifest:
    """Every image as a PNG under its id; those that cannot be read are left out."""

    def one(sample: Sample) -> Sample | None:
        try:
            return store(sample, read_pixels(sample, found.root), out)
        except BadImage as error:
            return left.add(sample.path, error, sample.sha256)

    made = each(one, found.samples, stage="import images", progress=progress)
    samples = tuple(sample for sample in made if sample is not None)
    return Manifest(out, found.labels, samples, found.head, dict(found.source))
