# SPDX-License-Identifier: Apache-2.0
"""From a part's name in a plan to a checked recipe with all its parameters."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from radproof.assess.sections import Part
from radproof.core.records import canonical_json
from radproof.core.registry import Recipe, Registry, split_name
from radproof.errors import BadPlan

T = TypeVar("T")


@dataclass(frozen=True)
class Settled(Generic[T]):
    """A recipe with every parameter decided; `label` is how results name it, unique within a plan."""

    recipe: Recipe[T]
    params: dict[str, Any]
    label: str

    def make(self, **bound: Any) -> T:
        """Build the part; `bound` are eps and what the recipe needs."""
        params = dict(self.params)
        if "eps" in bound and "eps" in params:
            params["eps"] = bound.pop("eps")
        bound.pop("eps", None)
        return self.recipe.make(params, **bound)


def settle(part: Part, registry: Registry[T], preset: str) -> Settled[T]:
    """Check a part of a plan. Raises UnknownName or BadPlan with the nearest known name."""
    name, variant = split_name(part.name)
    recipe = registry[name]
    params = dict(part.params)
    if variant is not None:
        if recipe.variant is None:
            raise BadPlan(f"{registry.kind} {name} has no variants; write {name!r} instead of {part.name!r}")
        params.setdefault(recipe.variant, variant)
    if "eps" in params:
        raise BadPlan(f"{name}: give budgets under `budgets:`, not as the attack's own eps")
    settled = recipe.settle(params, preset)
    return Settled(recipe, settled, recipe.label(settled))


def settle_all(parts: Iterable[Part], registry: Registry[T], preset: str) -> dict[str, Settled[T]]:
    """The same for all, by label; parts that would share a label are told apart by what differs."""
    chosen = [(part, settle(part, registry, preset)) for part in parts]
    labels = [settled.label for _, settled in chosen]
    found: dict[str, Settled[T]] = {}
    for part, settled in chosen:
        label = settled.label
        if labels.count(label) > 1 and part.params:
            label += "(" + ",".join(f"{key}={value}" for key, value in sorted(part.params.items())) + ")"
        if label in found:
            raise BadPlan(f"{registry.kind} {label} stands twice in the plan: {canonical_json(part)}; drop one")
        found[label] = Settled(settled.recipe, settled.params, label)
    return found
