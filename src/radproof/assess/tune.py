# SPDX-License-Identifier: Apache-2.0
"""The search for a defence's parameters: on validation patients only, every candidate attacked as it would be in use.

Every combination becomes a contender of one plan, so that candidates are judged on the same images by the same attacks,
and their differences are paired.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_origin

from pydantic import Field

from radproof.assess.parts import settle_all
from radproof.assess.plan import Plan, checked, make_plan
from radproof.assess.plan_file import read_yaml
from radproof.assess.result import Gain, Result
from radproof.assess.sections import HardenedPlan, Part
from radproof.core.params import show_fraction
from radproof.core.records import Estimate, Record
from radproof.core.registry import named, split_name
from radproof.defenses import defense
from radproof.errors import BadInput, BadPlan

MOST = 64  # candidates
Rate = Annotated[float, Field(gt=0, lt=0.5)]


class Search(Record):
    """What a search file says: a plan to start from, and lists of values where the plan has one."""

    plan: str  # relative to the search file
    images: Annotated[int, Field(ge=1)] | None = None  # validation images; none takes all
    defenses: tuple[dict[str, Any], ...] = ()
    hardened: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    false_positive_rates: tuple[Rate, ...] = ()  # of the plan's detectors


class Candidate(Record):
    """One combination of parameters and what it is worth on validation patients."""

    name: str  # how the run's report calls it
    chosen: dict[str, Any]  # what to write into a plan; empty for no defence
    clean: Estimate
    robust: Estimate  # worst per image, adaptive attacks included
    gain: Gain | None
    front: bool  # no other candidate is better in both


class Alarm(Record):
    """One detector at one rate of false alarms."""

    detector: str
    rate: float
    attack: str
    budget: str
    detected: float  # share of successful images, read off the ROC curve


class Tuned(Record):
    """What came out of a search."""

    budget: str
    images: int
    patients: int
    candidates: tuple[Candidate, ...]  # best under attack first
    alarms: tuple[Alarm, ...]


def read_search(path: Path) -> tuple[Plan, Search, dict[str, dict[str, Any]]]:
    """The plan with every candidate as a contender, the search, and what each candidate's name stands for.

    Raises BadPlan for what is no search, for nothing to search, and for more than 64 candidates.
    """
    search = checked(Search, read_yaml(path, "search"), "search")
    if not (search.defenses or search.hardened or search.false_positive_rates):
        raise BadPlan("the search has nothing to try; give defenses:, hardened: or false_positive_rates:")
    base = path.parent / search.plan
    raw = read_yaml(base, "plan")
    known = make_plan(raw, base=base.parent)
    defenses = [part for wanted in search.defenses for part in _parts(wanted)]
    hardened: dict[str, dict[str, Any]] = {}
    for key, wanted in search.hardened.items():
        for name, entry in _entries(key, wanted):
            if name in hardened:
                raise BadPlan(f"two candidates would be called {name}; give {key} a shorter name")
            hardened[name] = entry
    if len(defenses) + len(hardened) > MOST:
        raise BadPlan(f"the search has {len(defenses) + len(hardened)} candidates, at most {MOST} are tried at a time")
    entries = [checked(HardenedPlan, entry, f"hardened {name}") for name, entry in hardened.items()]
    needed = _needed(known, [name for entry in entries for name in entry.names])
    raw |= {
        "name": f"{known.name}-tuned",
        "title": f"{known.title or known.name}: search on validation patients",
        "data": {**raw["data"], "fold": "validation", "images": search.images},
        "defenses": defenses,
        "hardened": {**{name: raw["hardened"][name] for name in needed}, **hardened},
        "gate": [],
    }
    plan = make_plan(raw, base=base.parent)
    told: dict[str, dict[str, Any]] = {name: {"hardened": {name: entry}} for name, entry in hardened.items()}
    labels = settle_all(plan.defenses, defense, plan.preset)
    return plan, search, told | {name: {"defenses": [part]} for name, part in zip(labels, defenses, strict=True)}


def tuned(result: Result, search: Search, told: Mapping[str, dict[str, Any]], eps: float) -> Tuned:
    """The candidates of a finished run, with the front of clean against adaptive accuracy at one budget.

    Raises BadInput where no attack bounded by that budget was made: then nothing tells candidates apart.
    """
    goals = [c.goal for c in result.cells if c.column == "headline" and c.eps == eps]
    if not goals:
        raise BadInput(
            f"the run has no accuracy under attack at {show_fraction(eps)} to choose by; give the plan an attack "
            "that a budget bounds, such as pgd"
        )
    goal = "misclassify" if "misclassify" in goals else goals[0]
    clean = {c.defense: c.scores.accuracy for c in result.cells if c.column == "clean"}
    robust = {
        c.defense: c.robust_accuracy
        for c in result.cells
        if c.column == "headline" and c.robust_accuracy and (c.eps, c.goal) == (eps, goal)
    }
    gains = {g.defense: g for g in result.gains if (g.eps, g.goal) == (eps, goal)}
    points = {name: (clean[name].value or 0.0, robust[name].value or 0.0) for name in robust if name in clean}
    front = set(pareto(points))
    candidates = [
        Candidate(
            name=name,
            chosen=told.get(name, {}),
            clean=clean[name],
            robust=robust[name],
            gain=gains.get(name),
            front=name in front,
        )
        for name in sorted(points, key=lambda name: (-points[name][1], -points[name][0], name))
    ]
    return Tuned(
        budget=show_fraction(eps),
        images=result.images,
        patients=result.patients,
        candidates=tuple(candidates),
        alarms=tuple(_alarms(result, search.false_positive_rates)),
    )


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names that no other beats in one coordinate without losing in the other."""

    def beaten(mine: tuple[float, float]) -> bool:
        return any(other != mine and other[0] >= mine[0] and other[1] >= mine[1] for other in points.values())

    return [name for name, mine in points.items() if not beaten(mine)]


def _alarms(result: Result, rates: Sequence[float]) -> Iterator[Alarm]:
    for found in result.detection:
        for row in found.rows:
            if row.kind != "attack" or not row.roc:
                continue
            for rate in rates:
                within = [flagged for false, flagged in row.roc if false <= rate + 1e-12]
                yield Alarm(
                    detector=found.detector,
                    rate=rate,
                    attack=row.attack,
                    budget=row.budget,
                    detected=max(within, default=0.0),
                )


def _parts(wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One defence per combination of the listed values; lists that the parameter itself is stay whole."""
    if "name" not in wanted:
        raise BadPlan(f"a defence to search needs a name; got {dict(wanted)}")
    part = checked(Part, named(wanted), "defences to search")
    recipe = defense[split_name(part.name)[0]]
    tried: dict[str, list[Any]] = {}
    for key, value in part.params.items():
        field = recipe.params.model_fields.get(key)
        several = isinstance(value, list) and (field is None or get_origin(field.annotation) not in (tuple, list))
        tried[key] = _some(value, f"{part.name}: {key}") if several else [value]
    found = [dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())]
    return [{"name": part.name, **params} for params in found]


def _entries(name: str, wanted: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One network per combination of the values listed under adversarial:, noise: or distill: of its recipe."""
    paths = [(path, _some(values, ".".join(map(str, (name, *path))))) for path, values in _listed(wanted)]
    for values in itertools.product(*(choices for _, choices in paths)):
        entry: dict[str, Any] = _copied(wanted)
        words = [name]
        for (path, _), value in zip(paths, values, strict=True):
            inner = entry
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            words.append(f"{path[-1]}-{value}")
        yield re.sub(r"[^a-z0-9._-]+", "-", "-".join(words).lower())[:32], entry


def _some(values: list[Any], where: str) -> list[Any]:
    if not values:
        raise BadPlan(f"the search lists no value for {where}; give one or more, or leave it out")
    return values


_WHOLE = ("behind", "of")  # keys whose lists are meant


def _listed(entry: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _listed(value, (*path, key))
        elif isinstance(value, list) and key not in _WHOLE:
            yield (*path, key), value


def _copied(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in entry.items()}


def _needed(known: Plan, names: Iterable[str]) -> list[str]:
    """The plan's own hardened networks among these, and what those are made of in turn, in the plan's order."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in known.hardened and name not in needed:
            needed.add(name)
            waiting += known.hardened[name].names
    return [name for name in known.hardened if name in needed]
