# SPDX-License-Identifier: Apache-2.0
"""A registry maps a public name to a recipe: a typed function that builds a part from parameters.

The signature is the schema for CLI, API and docs. A parameter annotated `Annotated[T, Need("pool")]` is no
parameter of the plan: whoever runs the attack binds it (see Recipe.needs).
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from radproof.core.names import nearest
from radproof.errors import BadPlan, UnknownName

T = TypeVar("T")
Preset = Literal["quick", "published", "exhaustive"]


class Passes(NamedTuple):
    """Passes through the network per image; every backward pass has a forward pass of its own among the forwards."""

    forwards: int
    backwards: int


def gradients(count: int) -> Passes:
    """The bill of `count` gradients."""
    return Passes(count, count)


Cost = Callable[[Mapping[str, Any]], Passes]
"""From settled parameters to what is spent per image, at most."""

Limits = Callable[[Mapping[str, Any]], str]
"""From settled parameters to what bounds the part, in plain words."""


@dataclass(frozen=True)
class Need:
    """Marks an argument of a recipe that is bound when the part is built, such as a pool of other images."""

    what: str


@dataclass(frozen=True)
class Recipe(Generic[T]):
    """A named, documented, validated way to build a part."""

    name: str
    title: str
    paper: str
    threat: str  # what bounds it: "linf", "l2", "visible", … ; "" where the word does not apply
    doc: str
    params: type[BaseModel]
    build: Callable[..., T]
    needs: Mapping[str, str]  # argument name -> what is to be bound to it
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    variant: str | None = None  # the parameter shown in brackets: stm[acquisition]
    cost: Cost | None = None  # None: not said
    limits: Limits | None = None  # what bounds a part that has no budget; None: its budget does

    def settle(self, params: Mapping[str, Any], preset: str | None = None) -> dict[str, Any]:
        """All parameters, checked: the given ones over the preset's over the defaults.

        Raises BadPlan naming the parameter, what was given and what was expected.
        """
        unknown = [key for key in params if key not in self.params.model_fields]
        if unknown:
            raise BadPlan(f"{self.name} has no parameter {unknown[0]!r}{nearest(unknown[0], self.params.model_fields)}")
        chosen = {**self.presets.get(preset or "", {}), **params}
        try:
            return self.params(**chosen).model_dump()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            field = self.params.model_fields.get(str(first["loc"][0])) if first["loc"] else None
            meaning = f". What it is: {field.description}" if field and field.description else ""
            raise BadPlan(f"{self.name}: {where}: {first['msg']}, got {first.get('input')!r}{meaning}") from None

    def make(self, params: Mapping[str, Any], *, preset: str | None = None, **bound: Any) -> T:
        """Build the part; `bound` supplies what it needs. Raises BadPlan for anything missing or out of range."""
        missing = [f"{name} ({what})" for name, what in self.needs.items() if name not in bound]
        if missing:
            raise BadPlan(f"{self.name} needs {', '.join(missing)}, which was not supplied")
        return self.build(**self.settle(params, preset), **{name: bound[name] for name in self.needs})

    def label(self, params: Mapping[str, Any]) -> str:
        """How results name it: stm[acquisition], or just pgd."""
        return f"{self.name}[{params[self.variant]}]" if self.variant else self.name


class Registry(Generic[T]):
    """Recipes by name; registering one makes it known to the CLI, the API and the docs.

    Other packages register through the entry-point group `radproof.<kind>`; one is imported only when named.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._recipes: dict[str, Recipe[T]] = {}

    def __call__(
        self,
        *,
        title: str,
        paper: str,
        threat: str = "",
        variant: str | None = None,
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        cost: Cost | None = None,
        limits: Limits | None = None,
    ) -> Callable[[Callable[..., T]], Recipe[T]]:
        """Register the decorated function under its own name."""

        def register(build: Callable[..., T]) -> Recipe[T]:
            name = build.__name__.rstrip("_")
            if name in self._recipes:
                raise ValueError(f"{self.kind} {name!r} is already registered")
            params, needs = _signature(name, build)
            doc = inspect.getdoc(build) or ""
            recipe = Recipe(name, title, paper, threat, doc, params, build, needs, presets or {}, variant, cost, limits)
            self._recipes[name] = recipe
            return recipe

        return register

    def __getitem__(self, name: str) -> Recipe[T]:
        if name not in self._recipes:
            self._plug_in(name)
        if name not in self._recipes:
            raise UnknownName(f"no {self.kind} named {name!r}{nearest(name, self._recipes)}")
        return self._recipes[name]

    def __iter__(self) -> Iterator[Recipe[T]]:
        return iter(sorted(self._recipes.values(), key=lambda recipe: recipe.name))

    def _plug_in(self, name: str) -> None:
        for entry in entry_points(group=f"radproof.{self.kind}", name=name):
            entry.load()


def split_name(text: str) -> tuple[str, str | None]:
    """'stm[neural]' -> ('stm', 'neural'); 'sia' -> ('sia', None)."""
    name, bracket, rest = text.strip().partition("[")
    return name, rest.rstrip("]") if bracket else None


def named(value: Any) -> Any:
    """'sia', {'name': 'sia', 'copies': 4} and {'name': …, 'params': {…}} as the last; anything else as it is."""
    if isinstance(value, str):
        return {"name": value, "params": {}}
    if isinstance(value, Mapping) and "name" in value and "params" not in value:
        return {"name": value["name"], "params": {key: v for key, v in value.items() if key != "name"}}
    return value


def _signature(name: str, build: Callable[..., Any]) -> tuple[type[BaseModel], dict[str, str]]:
    fields: dict[str, Any] = {}
    needs: dict[str, str] = {}
    for p in inspect.signature(build, eval_str=True).parameters.values():
        need = _need(p.annotation)
        if need:
            needs[p.name] = need.what
        else:
            fields[p.name] = (p.annotation, ... if p.default is p.empty else p.default)
    config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
    return create_model(name, __config__=config, **fields), needs


def _need(annotation: Any) -> Need | None:
    if get_origin(annotation) is not Annotated:
        return None
    return next((extra for extra in get_args(annotation)[1:] if isinstance(extra, Need)), None)
