# SPDX-License-Identifier: Apache-2.0
"""From a saved plan, which names things of the database, to one whose paths lie within the server's home."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

from sqlalchemy.orm import Session

from radproof.assess.gate_sentence import placed_gate, read_gate
from radproof.assess.outside import Outside, outside
from radproof.errors import BadPlan
from radproof.store.ids import is_id
from radproof.store.settings import Settings
from radproof.store.tables import DataSet, Model, Run

T = TypeVar("T", Model, DataSet)
_FIXED = (  # at the import
    "split", "inflate", "voi", "axis", "slices", "classes", "multi_label", "label_tag", "window", "count",
)  # fmt: skip
_REFUSED: dict[Outside, str] = {
    "file": "a plan on this server names no files; upload it, and give its id",
    "address": "a plan on this server asks nothing of other machines; upload the model",
    "network": "expected the name of a network that radproof knows",
}


def materialise(document: Mapping[str, Any], session: Session, settings: Settings, *, project: str) -> dict[str, Any]:
    """The plan with paths, as `radproof assess` reads it.

    `project`: models, data sets and runs of another one are refused in the words of missing ones. Raises BadPlan for
    any file or address that the document itself names, and for things that are missing or not ready.
    """
    plan: dict[str, Any] = {**document}
    model, data = _section(plan, "model"), _section(plan, "data")
    rest = {key: value for key, value in plan.items() if key not in ("model", "data", "surrogates", "hardened", "gate")}
    for name, value in rest.items():
        _refuse_files(value, name)
    places = _Places(session, settings, project)
    plan["model"] = places.network(model, "model", always=True)
    plan["data"] = places.data(data)
    for section in ("surrogates", "hardened"):
        if section in plan:
            entries = _section(plan, section)
            plan[section] = {name: places.network(entry, f"{section}.{name}") for name, entry in entries.items()}
    if "gate" in plan:
        given = plan["gate"]
        sentences = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else None
        if sentences is None:
            raise BadPlan("gate: expected a list of sentences")
        plan["gate"] = [places.gate(str(sentence)) for sentence in cast("list[object]", sentences)]
    return plan


class _Places:
    """Where things of the database lie."""

    def __init__(self, session: Session, settings: Settings, project: str) -> None:
        self.session, self.settings, self.project = session, settings, project

    def network(self, entry: Any, where: str, *, always: bool = False) -> dict[str, Any]:
        """A section with `id` in place of a path; recipes and the like pass, where no model has to be named."""
        if isinstance(entry, str):
            entry = {"id": entry}
        if not isinstance(entry, Mapping):
            raise BadPlan(f"{where}: expected a mapping with id: (a model's name on this server)")
        told: dict[str, Any] = {**cast("Mapping[str, Any]", entry)}
        named = told.pop("id", None)
        _refuse_files(told, where)
        if named is None:
            if always:
                raise BadPlan(f"{where}: give id: (a model's name on this server)")
            return told
        model = self._found(Model, named, "mdl", where)
        if where == "model" and _is_text(model.told.get("architecture")):  # the other sections read it from the card
            told = {"architecture": model.told["architecture"], **told}
        return {**told, "path": self._path(model.path)}

    def data(self, section: dict[str, Any]) -> dict[str, Any]:
        """A data set by its id, or phantoms."""
        told = {**section}
        named = told.pop("id", None)
        fixed = [key for key in (*_FIXED, "kind") if key in told] if named is not None else []
        if fixed:
            raise BadPlan(f"data.{fixed[0]}: this was decided when the data set was uploaded; leave it out")
        _refuse_files(told, "data")
        if named is None:
            if told.get("kind") != "phantom":
                raise BadPlan("data: give id: (a data set's name on this server), or kind: phantom")
            return told
        one = self._found(DataSet, named, "dat", "data")
        kind = one.facts.get("kind")
        return {**told, "kind": kind if _is_text(kind) else "manifest", "path": self._path(one.path)}

    def gate(self, sentence: str) -> str:
        """`not worse than run_…` with the run's folder; read by what will read it, so that nothing slips past."""
        gate = read_gate(sentence)
        if not gate.run:
            return sentence
        run = self.session.get(Run, gate.run) if is_id(gate.run, "run") else None
        if run is None or run.project_id != self.project:
            raise BadPlan("gate: `not worse than` takes a run's name on this server (run_…); there is none like that")
        if run.state != "done":
            raise BadPlan("gate: the run to compare with is not finished")
        return placed_gate(gate, str(self.settings.folder("runs", run.id).resolve()))

    def _found(self, kind: type[T], named: Any, prefix: Literal["mdl", "dat"], where: str) -> T:
        what = "model" if prefix == "mdl" else "data set"
        found = self.session.get(kind, named) if isinstance(named, str) and is_id(named, prefix) else None
        if found is None or found.project_id != self.project:
            raise BadPlan(f"{where}.id: no {what} of that name")
        if found.state != "ready":
            raise BadPlan(f"{where}.id: this {what} is not ready: it is {found.state}")
        return found

    def _path(self, path: str) -> str:
        home = self.settings.home.resolve()
        place = (home / path).resolve()
        if not path or home not in place.parents:
            raise BadPlan("what this plan names has no files on this server; upload it again")
        return str(place)


def _section(plan: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = plan.get(name)
    if not isinstance(found, Mapping):
        raise BadPlan(f"{name}: expected a mapping, got {type(found).__name__}")
    return dict(cast("Mapping[str, Any]", found))


def _refuse_files(value: Any, where: str) -> None:
    """Raises BadPlan for a file or an address anywhere below."""
    for kind, place in outside(value, where):
        raise BadPlan(f"{place}: {_REFUSED[kind]}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
