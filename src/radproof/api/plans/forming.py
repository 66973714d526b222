# SPDX-License-Identifier: Apache-2.0
"""The form of an assessment: a plan as fields, and fields as a plan. What was typed stays as it was typed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from radproof.api.plans import networks, promises
from radproof.api.plans.catalogue import HERE_ONLY, Kind, Parameter, Part, number, parts
from radproof.api.plans.presets import composed
from radproof.jobs.queue import FIRST, LAST

MOST_SHOWN = 400  # characters of a field that are kept
GOALS = (
    ("misclassify", "Any wrong answer"),
    ("missed-finding", "A finding is missed: disease read as Normal"),
    ("false-alarm", "A false alarm: Normal read as disease"),
)
BASICS = frozenset(
    {"model", "data", "preset", "name", "images", "seed", "priority", "budgets", "other_goals", "gate_rows"}
)
_STRENGTH = frozenset({"steps", "queries", "restarts", "loss"})  # what an attack on a defence may be told here


class Group(NamedTuple):
    """A list of parts in a plan."""

    key: str
    kind: Kind
    title: str
    hint: str


GROUPS = (
    Group("attacks", "attack", "Attacks", "Each is made at every budget and for every goal."),
    Group("defenses", "defense", "Defences", "Transformations of the image before the model sees it."),
    Group(
        "adaptive", "attack", "Attacks that know the defence", "Without them nothing about a defence is established."
    ),
    Group("detectors", "detector", "Detectors", "They flag an image that was attacked."),
    Group("corruptions", "corruption", "Corruptions", "Without an adversary: noise, movement, another window."),
)


@dataclass
class Filled:
    """The form's fields: name -> texts; `errors`: name of a field -> what is wrong with it ("" is the whole form)."""

    told: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    errors: dict[str, str] = field(default_factory=dict[str, str])

    def one(self, name: str) -> str:
        """The text of a field."""
        found = self.told.get(name)
        return found[0] if found else ""

    def has(self, name: str, value: str) -> bool:
        """Whether a box is ticked."""
        return value in self.told.get(name, ())


def shown(key: str, one: Part) -> list[Parameter]:
    """The parameters that the form offers: the budget is that of the plan, whole documents are for plans in YAML."""
    found = [p for p in one.parameters if p.form != "other" and not (one.kind == "attack" and p.name == "eps")]
    return [p for p in found if p.name in _STRENGTH] if key == "adaptive" else found


def offered(kind: Kind) -> list[Part]:
    """The parts of a list that may run on a server."""
    return [one for one in parts()[kind].values() if one.name not in HERE_ONLY]


def filled(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """A plan's document as fields."""
    found = {"name": [str(document.get("title", ""))], "seed": [str(document.get("seed", 1))]}
    found["images"] = [str(document["data"].get("images") or "")]
    found["budgets"] = [", ".join(str(one) for one in document.get("budgets", ()))]
    goals = [str(one) for one in document.get("goals", ["misclassify"])]
    found["goals"] = [one for one in goals if one in dict(GOALS)]
    found["other_goals"] = [", ".join(one for one in goals if one not in dict(GOALS))]
    for group in GROUPS:
        for name, params in _parts_of(document.get(group.key, ())):
            found.setdefault(group.key, []).append(name)
            found |= {f"{group.key}.{name}.{key}": [_text(value)] for key, value in params.items()}
    found["surrogates"] = networks.surrogate_fields(document.get("surrogates") or {})[0]
    found |= networks.hardened_fields(document.get("hardened") or {}, int(document.get("seed", 1)))[0]
    return found | promises.fields(_sentences(document))[0]


def unsaid(document: Mapping[str, Any]) -> list[str]:
    """Sections of a plan that the form cannot say as they are."""
    said = {
        "surrogates": networks.surrogate_fields(document.get("surrogates") or {})[1],
        "hardened networks": networks.hardened_fields(document.get("hardened") or {}, int(document.get("seed", 1)))[1],
        "gates": promises.fields(_sentences(document))[1],
    }
    return [name for name, whole in said.items() if not whole]


def received(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """What a browser sent: only fields that this form has."""
    known = {group.key for group in GROUPS} | {"goals", "surrogates", "hardened"}
    prefixes = ("hardened.", "gate.", *(f"{group.key}." for group in GROUPS))
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in BASICS or name in known or name.startswith(prefixes):
            found.setdefault(name, []).append(value[:MOST_SHOWN])
    return found


def document_of(
    form: Filled, *, labels: Iterable[str] = (), only_answers: bool = False, models: Iterable[str] = ()
) -> dict[str, Any]:
    """The plan of a form; `form.errors` says which fields cannot be read. Raises Problem 422 for an unknown preset.

    `models`: ids of those that are ready in the project.
    """
    images = _whole(form, "images", 1, 10**6) if form.one("images").strip() else None
    seed = _whole(form, "seed", 0, 2**31 - 1)
    plan = composed(
        form.one("preset"),
        model=form.one("model"),
        data=form.one("data") or None,
        labels=tuple(labels),
        only_answers=only_answers,
        images=images,
        seed=seed if seed is not None else 1,
    )
    plan["title"] = form.one("name").strip() or plan["title"]
    plan["budgets"] = _budgets(form)
    plan["goals"] = [*form.told.get("goals", ()), *_listed(form.one("other_goals"))]
    if not plan["goals"]:
        form.errors["goals"] = "choose at least one goal"
    for group in GROUPS:
        plan[group.key] = _chosen(form, group)
    if not plan["attacks"]:
        form.errors["attacks"] = "choose at least one attack"
    _add_others(form, plan, tuple(models))
    if not plan["defenses"] and not plan.get("hardened"):
        plan["adaptive"] = []
    return plan


def _add_others(form: Filled, plan: dict[str, Any], models: Iterable[str]) -> None:
    """Surrogates, hardened networks and gates, where there are any."""
    ticked, model, seed = form.told.get("surrogates", ()), form.one("model"), plan["seed"]
    if wrong := networks.check_surrogates(ticked, models, model):
        form.errors["surrogates"] = wrong
    found = {
        "surrogates": networks.surrogates(ticked, model=model, seed=seed),
        "hardened": networks.hardened(form.told, form.errors, known=models, model=model, seed=seed),
        "gate": promises.gates(form.told, form.errors),
    }
    for key in found:
        plan.pop(key, None)
    plan |= {key: value for key, value in found.items() if value}


def blame(form: Filled, message: str) -> None:
    """Beside the field that an error of a plan is about."""
    at = place(message)
    if at == "gate":
        at, message = promises.place(message, form.told)
    form.errors.setdefault(at, message)


def priority_of(form: Filled) -> int:
    """From first to last."""
    return _whole(form, "priority", FIRST, LAST) or 100


def place(message: str) -> str:
    """The field that an error of a plan is about, by the key that it begins with; "" where it is none of the form."""
    start = message.partition(":")[0].partition("[")[0].partition(".")[0].strip()
    fields = {"title": "name", "smallest": "", **{group.key: group.key for group in GROUPS}}
    named = ("model", "data", "budgets", "goals", "seed", "preset", "name", "surrogates", "hardened", "gate")
    fields |= {name: name for name in named}
    if message.removeprefix("plan: ").startswith("gate"):
        return "gate"
    return fields.get(start, "")


def _chosen(form: Filled, group: Group) -> list[Any]:
    known = {one.name: one for one in offered(group.kind)}
    found: list[Any] = []
    for name in dict.fromkeys(form.told.get(group.key, ())):
        if name not in known:
            form.errors[group.key] = f"no {group.kind} of the name {name[:40]!r}"
            continue
        params: dict[str, Any] = {}
        for one in shown(group.key, known[name]):
            at = f"{group.key}.{name}.{one.name}"
            if (text := form.one(at)).strip():
                try:
                    params[one.name] = one.read(text)
                except ValueError as error:
                    form.errors[at] = str(error)
        found.append({"name": name, **params} if params else name)
    return found


def _budgets(form: Filled) -> list[str]:
    found = _listed(form.one("budgets"))
    for one in found:
        try:
            if not 0 < number(one) <= 1:
                raise ValueError
        except (ValueError, ZeroDivisionError):
            form.errors["budgets"] = f"{one[:20]}: expected grey levels such as 1/255, above 0 and at most 255/255"
    if not found:
        form.errors["budgets"] = "give at least one, such as 1/255, 4/255"
    return found


def _sentences(document: Mapping[str, Any]) -> list[str]:
    given = document.get("gate") or ()
    return [given] if isinstance(given, str) else [str(one) for one in given]


def _whole(form: Filled, name: str, least: int, most: int) -> int | None:
    text = form.one(name).strip()
    if text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most:
        return int(text)
    form.errors[name] = f"expected a whole number from {least:,} to {most:,}"
    return None


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _parts_of(entries: Iterable[Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    for one in entries:
        if isinstance(one, Mapping):
            told = dict(cast("Mapping[str, Any]", one))
            yield str(told.pop("name")), told
        else:
            yield str(one), {}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value)
