# SPDX-License-Identifier: Apache-2.0
"""The form's other networks: surrogates that attacks are made on, and hardened ones in the model's place."""

import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from radproof.api.plans.catalogue import Parameter, parameter
from radproof.api.plans.presets import small
from radproof.core.params import show_fraction

SMALL = "small"  # stands for the network that is trained here, among the ids of models
Fields = dict[str, list[str]]
_TRAINED = ("architecture", "input_size", "epochs", "lr", "batch")
_LEFT_OUT = ("method", "seed", "weights", "pretrained")


class Recipe(NamedTuple):
    """One way to a network in the model's place, as the form shows a part."""

    name: str
    title: str
    doc: str
    parameters: list[Parameter]
    make: Callable[[dict[str, Any], int], dict[str, Any]]  # from what was told and the seed: an entry of `hardened`
    limits: str = ""
    cost: Mapping[str, str] = {}


@cache
def recipes() -> Mapping[str, Recipe]:
    """By name, with their parameters as the plan's schema describes them; read once."""
    found = [_adversarial(method) for method in _schema("AdversarialRecipe")["method"]["enum"]]
    found.append(
        Recipe(
            "noise",
            "Training on noise",
            "A small network trained on images with Gaussian noise, as randomised smoothing wants it.",
            [*_told("TrainingRecipe", (*_TRAINED, "noise"), {"noise": 0.1})],
            lambda told, seed: {"train": {**small(seed), "noise": 0.1, **told}},
        )
    )
    found.append(
        Recipe(
            "distilled",
            "Distillation",
            "A small network that learns the model's answers at a temperature.",
            [*_told("TrainingRecipe", _TRAINED), *_told("DistillRecipe", ("temperature",))],
            lambda told, seed: {"teacher": "model", "train": _with(told, seed, "distill", ("temperature",))},
        )
    )
    found.append(
        Recipe(
            "denoiser",
            "Denoiser",
            "The model itself, behind a small network that is trained to take out what attacks added.",
            _told("DenoiserRecipe"),
            lambda told, seed: {"like": "model", "denoiser": {"seed": seed, **told}},
        )
    )
    found.append(
        Recipe(
            "committee",
            "Committee",
            "The model and all networks chosen here but the denoiser, by their mean logits.",
            [],
            lambda told, seed: {"of": ["model"]},
        )
    )
    return {one.name: one for one in found}


def surrogate_fields(section: Mapping[str, Any]) -> tuple[list[str], bool]:
    """What is ticked for a plan's surrogates, and whether that says all of them."""
    ticked = [
        str(one["id"]) if "id" in one else SMALL
        for one in section.values()
        if isinstance(one, Mapping) and ("id" in one or "train" in one)
    ]
    seeds = [one["train"].get("seed", 0) for one in section.values() if isinstance(one, Mapping) and "train" in one]
    return ticked, surrogates(ticked, model="", seed=seeds[0] if seeds else 0) == dict(section)


def surrogates(ticked: Iterable[str], *, model: str, seed: int) -> dict[str, Any]:
    """The plan's section; two or more are also attacked together."""
    chosen = list(dict.fromkeys(ticked))
    ids = [one for one in chosen if one not in (SMALL, model)]
    found: dict[str, Any] = {f"other-{number}": {"id": one} for number, one in enumerate(ids, 1)}
    if SMALL in chosen:
        found["cxrnet"] = {"train": small(seed)}
    return {**found, "together": {"of": sorted(found)}} if len(found) > 1 else found


def hardened_fields(section: Mapping[str, Any], seed: int) -> tuple[Fields, bool]:
    """A plan's hardened networks as fields, and whether these say all of them."""
    found: Fields = {"hardened": []}
    for name, entry in section.items():
        if isinstance(entry, Mapping) and set(entry) == {"id"}:
            found["hardened"].append(str(entry["id"]))
        elif name in recipes() and isinstance(entry, Mapping):
            found["hardened"].append(name)
            told = _flat(entry)
            usual = _flat(recipes()[name].make({}, seed))
            for one in recipes()[name].parameters:
                if one.name in told and told[one.name] != usual.get(one.name):
                    found[f"hardened.{name}.{one.name}"] = [str(told[one.name])]
    errors: dict[str, str] = {}
    return found, hardened(found, errors, known=found["hardened"], model="", seed=seed) == dict(section) and not errors


def hardened(
    told: Mapping[str, list[str]], errors: dict[str, str], *, known: Iterable[str], model: str, seed: int
) -> dict[str, Any]:
    """The plan's section from fields; `known`: models of the project. `errors` gains what cannot be read."""
    found: dict[str, Any] = {}
    models = set(known)
    for name in dict.fromkeys(told.get("hardened", ())):
        recipe = recipes().get(name)
        if recipe is None and (name not in models or name == model):
            errors["hardened"] = _not(name, model)
        elif recipe is None:
            found[f"in-place-{1 + sum(one.startswith('in-place-') for one in found)}"] = {"id": name}
        else:
            found[name] = recipe.make(_read(name, recipe, told, errors), seed)
    if "committee" in found:
        others = sorted(set(found) - {"committee", "denoiser"})
        found["committee"] = {"of": ["model", *others]}
        if not others:
            errors["hardened"] = "a committee is of two or more: choose another network as well"
    return found


def check_surrogates(ticked: Iterable[str], known: Iterable[str], model: str) -> str:
    """What is wrong with them, or ""."""
    models = {*known, SMALL}
    return next((_not(one, model) for one in ticked if one not in models or one == model), "")


def _not(name: str, model: str) -> str:
    if name == model:
        return "the model under test cannot stand here too; choose others"
    return "one that was chosen is no model of this project that is ready"


def _read(name: str, recipe: Recipe, told: Mapping[str, list[str]], errors: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in recipe.parameters:
        at = f"hardened.{name}.{one.name}"
        if text := next(iter(told.get(at, ())), "").strip():
            try:
                found[one.name] = one.read(text)
            except ValueError as error:
                errors[at] = str(error)
    return found


def _adversarial(method: str) -> Recipe:
    own = [one for one in _told("AdversarialRecipe") if not one.name.startswith("validation_")]
    names = tuple(one.name for one in own)

    def make(told: dict[str, Any], seed: int) -> dict[str, Any]:
        made = _with(told, seed, "adversarial", names)
        return {"train": {**made, "adversarial": {"method": method, **made["adversarial"]}}}

    doc = f"A small network trained on images attacked anew for every batch, by the method {method}."
    return Recipe(f"adversarial-{method}", f"Adversarial training ({method})", doc, [
        *_told("TrainingRecipe", _TRAINED), *own], make)  # fmt: skip


def _with(told: dict[str, Any], seed: int, section: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The small network's recipe with what was told, and a section of its own."""
    inner = {key: value for key, value in told.items() if key in names}
    return {**small(seed), **{key: told[key] for key in told if key not in names}, section: inner}


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a recipe's parameters may be called, whichever section it stands in."""
    found: dict[str, Any] = {}
    for key, value in entry.items():
        found |= _flat(value) if isinstance(value, Mapping) else {key: value}
    return found


def _told(name: str, only: tuple[str, ...] = (), usual: Mapping[str, Any] | None = None) -> list[Parameter]:
    """Parameters of a section of the plan's schema that a field can hold; the defaults are those that hold here."""
    defaults = {**(small(0) if name == "TrainingRecipe" else {}), **(usual or {})}
    section = _schema(name)
    found = [
        parameter(key, {**section[key], "default": _shown(key, defaults.get(key, section[key].get("default")))})
        for key in (only or section)
        if key not in _LEFT_OUT
    ]
    return [one for one in found if one.form != "other"]


def _shown(key: str, default: Any) -> Any:
    return show_fraction(default) if key == "eps" else default


@cache
def _document() -> dict[str, Any]:
    return json.loads(files("radproof.schema").joinpath("plan.schema.json").read_text(encoding="utf-8"))


def _schema(name: str) -> dict[str, Any]:
    return deepcopy(_document()["$defs"][name]["properties"])
