# SPDX-License-Identifier: Apache-2.0
"""Attacks, defences, detectors and corruptions with their parameters, as the registries describe them."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal, cast

from pydantic import BaseModel, Field

from radproof.api.http.problems import Problem
from radproof.core.names import nearest

Form = Literal["whole", "number", "yes", "choice", "list", "text", "other"]
Kind = Literal["attack", "defense", "detector", "corruption"]
KINDS: Mapping[Kind, str] = MappingProxyType(
    {"attack": "Attacks", "defense": "Defences", "detector": "Detectors", "corruption": "Corruptions"}
)
HERE_ONLY = ("foreign",)  # runs on the command line alone
LONGEST = 200  # characters of a parameter's value


class Parameter(BaseModel):
    """What may be set of a part."""

    name: str
    form: Form
    default: Any = None
    meaning: str = ""
    least: float | None = None
    most: float | None = None
    above: bool = False  # whether `least` itself is left out
    choices: list[Any] = Field(default_factory=list[Any])
    optional: bool = False  # whether it may be none

    @property
    def range(self) -> str:
        """In words."""
        low = f"{'above' if self.above else 'at least'} {self.least:g}" if self.least is not None else ""
        high = f"at most {self.most:g}" if self.most is not None else ""
        return " and ".join(one for one in (low, high) if one)

    def read(self, text: str) -> Any:
        """A value as it is typed. Raises ValueError in words."""
        told = text.strip()
        if len(told) > LONGEST:
            raise ValueError(f"at most {LONGEST} characters")
        if self.optional and told.lower() == "none":
            return None
        if self.form == "yes":
            return _yes(told)
        if self.form in ("whole", "number"):
            return self._number(told)
        if self.form == "choice":
            found = {str(one): one for one in self.choices}
            return found[told] if told in found else _refuse(self.choices)
        if self.form == "list":
            several = [one.strip() for one in told.split(",") if one.strip()]
            if self.choices and (set(several) - set(self.choices) or not several):
                _refuse(self.choices)
            return several
        return told

    def _number(self, told: str) -> float | str:
        try:
            value = number(told)
        except ValueError:
            raise ValueError("expected a whole number" if self.form == "whole" else "expected a number") from None
        if self.form == "whole" and value != int(value):
            raise ValueError("expected a whole number")
        low = self.least is not None and (value <= self.least if self.above else value < self.least)
        if low or (self.most is not None and value > self.most):
            raise ValueError(f"expected {self.range}")
        return int(value) if self.form == "whole" else told if "/" in told else value


class Part(BaseModel):
    """One attack, defence, detector or corruption."""

    kind: Kind
    name: str
    title: str
    paper: str
    threat: str
    limits: str
    doc: str
    needs: list[str]
    presets: dict[str, dict[str, Any]]
    cost: dict[str, str]
    parameters: list[Parameter]


@cache
def parts() -> Mapping[Kind, Mapping[str, Part]]:
    """Kind -> name -> part; read once."""
    told: dict[Kind, dict[str, dict[str, Any]]] = json.loads(
        files("radproof.schema").joinpath("parts.json").read_text(encoding="utf-8")
    )
    return MappingProxyType(
        {kind: {name: _part(kind, name, one) for name, one in found.items()} for kind, found in told.items()}
    )


def part(kind: str, name: str) -> Part:
    """By kind and name. Raises Problem 404 with the nearest known one."""
    found = parts().get(cast("Kind", kind))
    if found is None:
        raise Problem(404, f"no kind of part goes by {kind[:40]!r}; there are {', '.join(KINDS)}")
    if name not in found:
        raise Problem(404, f"no {kind} goes by {name[:40]!r}{nearest(name[:40], list(found))}")
    return found[name]


def parameter(name: str, schema: Mapping[str, Any]) -> Parameter:
    """Of a property of a JSON schema."""
    meaning = str(schema.get("description", ""))
    return _parameter({"name": name, "schema": schema, "default": json.dumps(schema["default"]), "meaning": meaning})


def number(text: str) -> float:
    """A finite number, or n/255. Raises ValueError."""
    above, slash, below = text.partition("/")
    value = float(above) / float(below) if slash and float(below) else float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("not finite")
    return value


def _part(kind: Kind, name: str, told: dict[str, Any]) -> Part:
    return Part.model_validate({
        **told,
        "kind": kind,
        "name": name,
        "parameters": [_parameter(one) for one in told["parameters"]],
    })  # fmt: skip


def _parameter(told: dict[str, Any]) -> Parameter:
    schema: dict[str, Any] = told.get("schema", {})
    ways: list[dict[str, Any]] = schema.get("anyOf", [schema])
    typed = next((one for one in ways if one.get("type") != "null"), {})
    limits = {**schema, **typed}
    items: dict[str, Any] = typed.get("items", {})
    least = next((limits[key] for key in ("minimum", "ge", "exclusiveMinimum", "gt") if key in limits), None)
    return Parameter(
        name=told["name"],
        form=_form(typed, items),
        default=None if told["default"] == "required" else json.loads(told["default"]),
        meaning=told["meaning"] or typed.get("description", ""),
        least=least,
        most=next((limits[key] for key in ("maximum", "le") if key in limits), None),
        above="exclusiveMinimum" in limits or "gt" in limits,
        choices=typed.get("enum", items.get("enum", [])),
        optional=any(one.get("type") == "null" for one in ways),
    )


def _form(typed: dict[str, Any], items: dict[str, Any]) -> Form:
    if "enum" in typed:
        return "choice"
    if typed.get("type") == "array":
        return "list" if items.get("type") == "string" else "other"
    forms: dict[str, Form] = {"integer": "whole", "number": "number", "boolean": "yes", "string": "text"}
    return forms.get(typed.get("type", ""), "other")


def _yes(told: str) -> bool:
    if told not in ("yes", "no"):
        raise ValueError("expected yes or no")
    return told == "yes"


def _refuse(choices: list[Any]) -> Any:
    raise ValueError(f"expected one of {', '.join(map(str, choices))}")
