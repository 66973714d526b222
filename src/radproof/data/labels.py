# SPDX-License-Identifier: Apache-2.0
"""A table that says what images show and whose they are, found again by path, by file name or by an identifier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from radproof.core.names import nearest
from radproof.core.types import Head
from radproof.data.inventory import parse_age, pseudonym, secret_of
from radproof.data.label_columns import Columns, find_columns, fold_of, labels_of, plain_text
from radproof.data.manifest import Sample
from radproof.data.table import Row, inner_path, read_table
from radproof.errors import BadData, UnknownName

MAX_CLASSES = 1000  # more are no classes: a wrong column was taken
_SUFFIXES = (".nii.gz", ".nii", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")


@dataclass(frozen=True)
class Label:
    """What the table says of one image."""

    labels: tuple[str, ...]  # one for softmax heads; any number for sigmoid heads
    patient: str = ""  # pseudonymised
    fold: str = ""
    view: str = ""
    age: int | None = None
    sex: str = ""
    line: int = 0  # of the table

    def onto(self, sample: Sample) -> Sample:
        """The sample with these labels; what the table leaves blank stays as the sample has it."""
        return replace(
            sample,
            labels=self.labels,
            patient=self.patient or sample.patient,
            fold=self.fold or sample.fold,
            view=self.view or sample.view,
            age=sample.age if self.age is None else self.age,
            sex=self.sex or sample.sex,
        )


@dataclass(frozen=True)
class LabelTable:
    """Every row of a table, by the key that it gives."""

    classes: tuple[str, ...]
    head: Head
    rows: Mapping[str, Label]
    name: str = ""  # of the file
    root: tuple[str, ...] = ()  # the folders that lead to the data set, the last one last

    def of(self, *keys: str) -> Label | None:
        """The row that the first fitting key names.

        A key fits by its whole path; else, without regard to case and suffix, where that is unambiguous, the row whose
        path is the end of the key's, or the key's whole path below the data set's own folder (images/1.png, where the
        folder images is the data set). Other folders are other images.
        """
        for key in keys:
            found = self._find(key) if key else None
            if found is not None:
                return found
        return None

    def check_patients(self) -> None:
        """Raise BadData naming the line where some rows name their patient and others do not."""
        without = [label.line for label in self.rows.values() if not label.patient]
        if without and len(without) < len(self.rows):
            raise BadData(
                f"{self.name}, line {without[0]}: no patient, although other rows have one; give all of them one, or "
                "leave the column out"
            )

    def _find(self, key: str) -> Label | None:
        path = PurePosixPath(key.replace("\\", "/")).as_posix()
        if path in self.rows:
            return self.rows[path]
        parts = _parts(path)
        fitting = (
            [known for known in self._by_name.get(parts[-1], ()) if self._fits(parts, _parts(known))] if parts else []
        )
        return self.rows[fitting[0]] if len(fitting) == 1 else None

    def _fits(self, image: tuple[str, ...], row: tuple[str, ...]) -> bool:
        if len(image) >= len(row):
            return image[-len(row) :] == row
        above = len(row) - len(image)
        return row[above:] == image and row[:above] == self.root[-above:]

    @cached_property
    def _by_name(self) -> Mapping[str, list[str]]:
        names: dict[str, list[str]] = {}
        for key in self.rows:
            names.setdefault(_parts(key)[-1], []).append(key)
        return names


@dataclass(frozen=True)
class Claims:
    """The rows of a table as files take them: a row is of one file, or it would label another one's image too."""

    table: LabelTable
    taken: dict[int, str] = field(default_factory=dict[int, str])  # line -> path within the source

    def of(self, path: str, *keys: str) -> Label | None:
        """The row of the file at `path`, found by the keys. Raises BadData for a row that another file took."""
        label = self.table.of(*keys)
        if label is None:
            return None
        first = self.taken.setdefault(label.line, path)
        if first != path:
            raise BadData(
                f"{self.table.name}, line {label.line}: the row fits two images, {first!r} and {path!r}; "
                "give paths relative to the folder"
            )
        return label

    @property
    def unused(self) -> int:
        """How many rows no file took."""
        return len(self.table.rows) - len(self.taken)


def read_labels(
    path: Path, *, root: Path | None = None, classes: Sequence[str] | None = None, multi_label: bool = False
) -> LabelTable:
    """Read a CSV with one row per image: a key, its labels, and perhaps patient, fold, view, age and sex.

    `root` is the folder of the images; rows may name it.
    Keys stand in the first column named path, file, filename, image, id, sop_instance_uid or Image Index. Labels stand
    in one column (label, class, finding, Finding Labels), several apart by | or ; where `multi_label`; or in a column
    of 0 and 1 per class: then the head is sigmoid unless every row holds exactly one 1. `classes` fixes their order.
    Raises BadData naming the line; UnknownName for a label that is none of `classes`.
    """
    rows = read_table(path, ())
    columns = find_columns(rows, classes, path.name)
    told: list[tuple[Row, tuple[str, ...]]] = []
    for row in rows:
        told.append((row, labels_of(row, columns, multi_label=multi_label, where=_where(path, row))))
    softmax = not multi_label and all(len(labels) == 1 for _, labels in told)
    chosen = _classes(told, columns, classes, path)
    if softmax and len(chosen) < 2:
        raise BadData(f"a classifier needs at least two classes; {path.name} shows {', '.join(chosen) or 'none'}")
    known = _keyed(told, columns, path)
    _check_folds(known, path)
    return LabelTable(chosen, "softmax" if softmax else "sigmoid", known, path.name, _folders(root))


def _folders(root: Path | None) -> tuple[str, ...]:
    return () if root is None else tuple(name.casefold() for name in root.resolve().parts)


def _keyed(told: Sequence[tuple[Row, tuple[str, ...]]], columns: Columns, path: Path) -> dict[str, Label]:
    rows: dict[str, Label] = {}
    secret = secret_of(path, "pseudonyms")
    first: dict[str, int] = {}
    for row, labels in told:
        where = _where(path, row)
        key = inner_path(row[columns.key], where=where)
        same = key.casefold()
        if same in first:
            how = "" if key in rows else " in other capitals, which many disks do not tell apart"
            raise BadData(f"{where}: the image was already given in line {first[same]}{how}; give each one row")
        first[same] = row.line
        rows[key] = Label(
            labels=labels,
            patient=pseudonym(row[columns.patient], secret),
            fold=fold_of(row[columns.fold], where=where),
            view=plain_text(row[columns.view], "view", where=where),
            age=parse_age(row[columns.age]),
            sex=plain_text(row[columns.sex], "sex", where=where),
            line=row.line,
        )
    return rows


def _classes(
    told: Sequence[tuple[Row, tuple[str, ...]]], columns: Columns, given: Sequence[str] | None, path: Path
) -> tuple[str, ...]:
    if columns.classes:
        return columns.classes
    found = sorted({label for _, labels in told for label in labels})
    if len(found) > MAX_CLASSES:
        raise BadData(
            f"{path.name}: column {columns.label!r} holds {len(found)} different labels; is it the right one?"
        )
    if not given:
        if not found:
            raise BadData(f"{path.name}: no row of column {columns.label!r} holds a label; fill it in")
        return tuple(found)
    for row, labels in told:
        for label in labels:
            if label not in given:
                raise UnknownName(f"{_where(path, row)}: unknown label {label[:80]!r}{nearest(label[:80], given)}")
    return tuple(dict.fromkeys(given))


def _check_folds(rows: Mapping[str, Label], path: Path) -> None:
    without = [label.line for label in rows.values() if not label.fold]
    if without and len(without) < len(rows):
        raise BadData(f"{path.name}, line {without[0]}: no fold, although other rows have one; give all of them one")


def _where(path: Path, row: Row) -> str:
    return f"{path.name}, line {row.line}"


def _parts(path: str) -> tuple[str, ...]:
    """A path's folders and its name, in small letters and without a suffix of image files."""
    lower = path.casefold()
    suffix = next((suffix for suffix in _SUFFIXES if lower.endswith(suffix) and len(lower) > len(suffix)), "")
    return PurePosixPath(lower.removesuffix(suffix)).parts
