# SPDX-License-Identifier: Apache-2.0
"""A plan of this machine as a server takes it: checked before anything is sent, then with names in place of paths."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from radproof.assess.gate_sentence import read_gate
from radproof.assess.outside import Outside, outside
from radproof.data.manifest import NAME
from radproof.data.table import read_table
from radproof.errors import BadPlan

REFUSED: dict[Outside, str] = {
    "file": "a server is sent models and data alone, not this file; assess it here",
    "address": "a server asks nothing of other machines; assess it here",
    "network": "a server knows radproof's networks alone, not this one; assess it here",
}
SAID = ("classes", "multi_label", "label_tag")  # beside an upload
AT_IMPORT = {"split": "patient", "inflate": None, "voi": "file", "axis": "axial", "slices": "all", "window": None}
CLASSES = ("label", "class", "finding", "finding_labels", "finding labels")


@dataclass(frozen=True)
class ModelFile:
    """A model to send."""

    path: Path
    card: Path | None = None
    architecture: str | None = None


@dataclass(frozen=True)
class DataFile:
    """A data set to send."""

    path: Path
    table: Path | None  # of labels, or of patients where folders are the classes
    told: dict[str, str]
    patients: bool  # whether the table says whose each image is, and the server has to have understood it


SendModel = Callable[[ModelFile], str]
SendData = Callable[[DataFile], str]


def read(plan: Path) -> dict[str, Any]:
    """The plan as it is written. Raises BadPlan."""
    try:
        found = yaml.safe_load(plan.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadPlan(f"cannot read {plan}: {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise BadPlan(f"{plan} is no plan; docs/howto/plans.md says what one looks like")
    return cast("dict[str, Any]", found)


def replaced(document: Mapping[str, Any], base: Path, model: SendModel, data: SendData) -> dict[str, Any]:
    """The plan with what `model` and `data` call the files that it names.

    Everything is looked at before the first file is sent. Raises BadPlan for what a server cannot do.
    """
    own = _model(_section(document, "model"), base)
    images = _data(_section(document, "data"), base)
    others = {kind: _networks(document, kind, base) for kind in ("surrogates", "hardened") if kind in document}
    for name, value in document.items():
        if name not in ("model", "data", "gate", *others):
            _refuse_files(value, str(name))
    _check_gates(document.get("gate"))
    made = {"model": _named(*own, model), "data": _named(*images, data)}
    for kind, found in others.items():
        made[kind] = {name: _named(*one, model) for name, one in found.items()}
    return {**document, **made}


def _named(rest: dict[str, Any], file: Any, send: Callable[[Any], str]) -> dict[str, Any]:
    return rest if file is None else {"id": send(file), **rest}


def _model(section: dict[str, Any], base: Path) -> tuple[dict[str, Any], ModelFile | None]:
    """What stays in the document, and what is sent."""
    if section.get("id") is None and section.get("path") is None:
        raise BadPlan(
            "a server assesses a model that exists: give model.path, or model.id; a model that has yet to be trained "
            "is trained here with `radproof train`, and one behind an endpoint is assessed from here, without --server"
        )
    return _network(section, "model", base)


def _networks(document: Mapping[str, Any], kind: str, base: Path) -> dict[str, tuple[dict[str, Any], ModelFile | None]]:
    return {name: _network(entry, f"{kind}.{name}", base) for name, entry in _section(document, kind).items()}


def _network(entry: Any, where: str, base: Path) -> tuple[dict[str, Any], ModelFile | None]:
    told = _mapping({"path": entry} if isinstance(entry, str) else entry, where)
    if told.get("id") is not None:
        _refuse_files(told, where)
        return told, None
    path, card, architecture = (told.pop(key, None) for key in ("path", "card", "architecture"))
    _refuse_files(told, where)
    if path is None:
        if card is not None or architecture is not None:
            raise BadPlan(f"{where}: card: and architecture: go with path:")
        return told, None
    found = ModelFile(base / str(path), base / str(card) if card else None, str(architecture) if architecture else None)
    for file in (found.path, found.card):
        if file is not None and not file.exists():
            raise BadPlan(f"{where}: there is no {file}")
    return told, found


def _data(section: dict[str, Any], base: Path) -> tuple[dict[str, Any], DataFile | None]:
    if section.get("id") is not None or section.get("kind") == "phantom":
        _refuse_files(section, "data")
        return section, None
    if section.get("path") is None:
        raise BadPlan("data: give path, id (of the server), or kind: phantom")
    for key, usual in AT_IMPORT.items():
        if section.get(key, usual) != usual:
            raise BadPlan(f"data.{key}: a server imports with {key}: {usual}; leave it out, or assess without --server")
    path = base / str(section["path"])
    if section.get("kind") == "manifest" and path.name == NAME:
        path = path.parent
    if not path.exists():
        raise BadPlan(f"data: there is no {path}")
    table = _table(section, base)
    told = {key: _word(section[key]) for key in SAID if section.get(key)}
    gone = ("path", "kind", "labels", "patients", "count", *SAID, *AT_IMPORT)
    rest = {key: value for key, value in section.items() if key not in gone}
    _refuse_files(rest, "data")
    return rest, DataFile(path, table, told, section.get("patients") is not None)


def _table(section: Mapping[str, Any], base: Path) -> Path | None:
    """The one table that goes with an upload. A server knows a table of patients by its columns."""
    labels, patients = section.get("labels"), section.get("patients")
    if patients is None:
        return base / str(labels) if labels else None
    if labels or section.get("kind") != "folder":
        raise BadPlan("data.patients: goes with kind: folder alone; a table of labels may have a column patient")
    table = base / str(patients)
    columns = {name.strip().lower() for row in read_table(table, ("path", "patient"))[:1] for name in row.cells}
    if found := sorted(columns & set(CLASSES)):
        raise BadPlan(f"data.patients: with its column {found[0]}, a server takes the table for one of labels")
    return table


def _check_gates(gates: Any) -> None:
    given = [gates] if isinstance(gates, str) else cast("list[Any]", gates) if isinstance(gates, list) else []
    for sentence in given:
        run = read_gate(str(sentence)).run
        if run and not run.startswith("run_"):
            raise BadPlan("gate: on a server, `not worse than` takes the name of a run there: run_…")


def _refuse_files(value: Any, where: str) -> None:
    """Raises BadPlan for a file or an address anywhere below."""
    for kind, place in outside(value, where):
        raise BadPlan(f"{place}: {REFUSED[kind]}")


def _section(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _mapping(document.get(name), name)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadPlan(f"{where}: expected a mapping; docs/howto/plans.md says of what")
    return dict(cast("Mapping[str, Any]", value))


def _word(value: Any) -> str:
    return ",".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value).lower()
