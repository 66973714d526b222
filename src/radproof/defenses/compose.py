# SPDX-License-Identifier: Apache-2.0
"""Several defences in a row are one defence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field
from torch import Generator, Tensor

from radproof.core.registry import Preset, named
from radproof.core.types import Backward, Defense
from radproof.defenses.registry import defense
from radproof.errors import RadproofError


@dataclass(frozen=True)
class Composed:
    """The parts one after the other; its twin is the parts' twins one after the other."""

    parts: tuple[Defense, ...]

    @property
    def deterministic(self) -> bool:
        """Whether every part is."""
        return all(part.deterministic for part in self.parts)

    @property
    def differentiable(self) -> bool:
        """Whether every part is."""
        return all(part.differentiable for part in self.parts)

    @property
    def ways(self) -> tuple[Backward, ...]:
        """Those of any part; the twin alone where a part knows no other."""
        if any(part.ways == ("twin",) for part in self.parts):
            return ("twin",)
        offered = {way for part in self.parts for way in part.ways}
        return tuple(way for way in get_args(Backward) if way in offered)

    @property
    def votes(self) -> int:
        """The most that any part wants."""
        return max(part.votes for part in self.parts)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same through all parts."""
        for part in self.parts:
            x = part(x, rng=rng)
        return x

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same through all twins."""
        for part in self.parts:
            x = part.surrogate(x, rng=rng)
        return x


def _parts(value: object) -> object:
    """Names, or mappings with a name and parameters, as mappings; each checked. Anything else for pydantic to judge."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError("expected a list of defences in their order, such as [jpeg, {name: tvm, lam: 0.05}]")
    return [_part(part) for part in value]


def _part(value: object) -> dict[str, Any]:
    part = named(value)
    if not isinstance(part, Mapping) or set(part) != {"name", "params"} or not isinstance(part["params"], Mapping):
        raise ValueError(f"expected a defence's name, or its name with parameters; got {value!r}")
    given = {str(key): v for key, v in part["params"].items()}
    try:
        defense[str(part["name"])].settle(given)
    except RadproofError as error:
        raise ValueError(str(error)) from None
    return {"name": str(part["name"]), **given}


Parts = Annotated[
    tuple[dict[str, Any], ...],
    BeforeValidator(_parts),
    Field(min_length=1, description="Defences in their order: names, or a name with the parameters that differ."),
]
Strength = Annotated[Preset, Field(description="Preset of the parts, for parameters that are not given.")]


@defense(
    title="Defences in a row",
    paper="",
    presets={name: {"preset": name} for name in ("quick", "published", "exhaustive")},
)
def compose(parts: Parts = ({"name": "jpeg"}, {"name": "tvm"}), preset: Strength = "published") -> Defense:
    """Several defences one after the other; it votes as often as the part that votes most."""
    rows = [({key: v for key, v in part.items() if key != "name"}, defense[part["name"]]) for part in parts]
    return Composed(tuple(recipe.make(params, preset=preset) for params, recipe in rows))
