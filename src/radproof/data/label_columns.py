# SPDX-License-Identifier: Apache-2.0
"""Which columns of a table hold keys, labels, patients and folds, and what may stand in their cells."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radproof.core.goals import NORMAL
from radproof.core.names import nearest
from radproof.data.folder import FOLD_FOLDERS
from radproof.data.table import Row
from radproof.errors import BadData, UnknownName

KEYS = ("path", "file", "filename", "image", "id", "sop_instance_uid", "image_index")
LABELS = ("label", "class", "finding", "finding_labels")
_OTHERS = (
    ("patient", "patient_id"),
    ("split", "fold", "set"),
    ("view", "view_position"),
    ("age", "patient_age"),
    ("sex", "gender", "patient_sex", "patient_gender"),
)
_BITS = {"0": False, "1": True, "0.0": False, "1.0": True}
_FORMULA = ("=", "+", "-", "@")
_LONGEST = 100


@dataclass(frozen=True)
class Columns:
    """Names of columns as the table spells them; "" where it has none."""

    key: str
    label: str = ""
    classes: tuple[str, ...] = ()  # one column of 0 and 1 for each, where there is no `label`
    patient: str = ""
    fold: str = ""
    view: str = ""
    age: str = ""
    sex: str = ""


def find_columns(rows: Sequence[Row], classes: Sequence[str] | None, name: str) -> Columns:
    """The columns of a table by their names, whatever their capitals, blanks and underscores.

    Raises BadData where there is no key or no label, UnknownName for one of `classes` without a column.
    """
    header = list(dict.fromkeys(column for row in rows for column in row.cells))
    by_name: dict[str, str] = {}
    for column in header:
        by_name.setdefault(_plain(column), column)
    key = _first(by_name, KEYS)
    if not key:
        found = ", ".join(header[:12])
        raise BadData(f"{name} has no column that names the image; found {found}; expected one of {', '.join(KEYS)}")
    patient, fold, view, age, sex = (_first(by_name, names) for names in _OTHERS)
    label = _first(by_name, LABELS)
    if label:
        return Columns(key, label, (), patient, fold, view, age, sex)
    taken = {_plain(spelling) for names in (KEYS, *_OTHERS) for spelling in names}
    free = [column for column in header if _plain(column) not in taken]
    return Columns(key, "", _class_columns(free, classes, name), patient, fold, view, age, sex)


def labels_of(row: Row, columns: Columns, *, multi_label: bool, where: str) -> tuple[str, ...]:
    """The classes that a row names. Raises BadData for none, several or an uncertain one where that cannot be."""
    if columns.classes:
        return tuple(name for name in columns.classes if _bit(row[name], name, where))
    if not multi_label:
        return (plain_text(row[columns.label], "label", where=where, wanted=True),)
    parts = [plain_text(part.strip(), "label", where=where) for part in re.split(r"[|;]", row[columns.label])]
    return tuple(dict.fromkeys(part for part in parts if part and part.lower() not in NORMAL))


def fold_of(text: str, *, where: str) -> str:
    """train, validation or test; "" stays "". Raises BadData for any other word."""
    if text and text.lower() not in FOLD_FOLDERS:
        words = ", ".join(FOLD_FOLDERS)
        raise BadData(f"{where}: unknown fold {text[:20]!r}; use one of {words}, or leave the column out")
    return FOLD_FOLDERS[text.lower()] if text else ""


def plain_text(text: str, what: str, *, where: str, wanted: bool = False) -> str:
    """Text that no spreadsheet takes for a formula, for it is handed on in tables. Raises BadData for other text."""
    if not text and wanted:
        raise BadData(f"{where}: no {what}; give every image one or remove the row")
    if text.startswith(_FORMULA) or not text.isprintable() or len(text) > _LONGEST:
        raise BadData(
            f"{where}: {text[:40]!r} is no {what}; expected at most {_LONGEST} printable characters that do not begin "
            f"with {' '.join(_FORMULA)}"
        )
    if wanted and ("|" in text or ";" in text):
        raise BadData(f"{where}: {text[:40]!r} holds several labels; use multi_label, or one class for each image")
    return text


def _class_columns(free: Sequence[str], classes: Sequence[str] | None, name: str) -> tuple[str, ...]:
    for chosen in classes or ():
        if chosen not in free:
            raise UnknownName(f"{name} has no column for the class {chosen!r}{nearest(chosen, free)}")
    names = tuple(dict.fromkeys(classes)) if classes else tuple(sorted(free))
    if not names:
        raise BadData(f"{name} has no labels; add a column `label`, or one column of 0 and 1 for each class")
    for column in names:
        plain_text(column, "name of a class", where=f"{name}, header")
    return names


def _bit(text: str, column: str, where: str) -> bool:
    if text not in _BITS:
        raise BadData(
            f"{where}: column {column!r} holds {text[:20]!r}; expected 0 or 1: decide what uncertain or blank means, "
            "or choose the columns of classes with `classes`"
        )
    return _BITS[text]


def _plain(column: str) -> str:
    return re.sub(r"[\s_-]+", "", column.lower())


def _first(by_name: Mapping[str, str], names: Sequence[str]) -> str:
    return next((by_name[_plain(name)] for name in names if _plain(name) in by_name), "")
