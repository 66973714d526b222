# SPDX-License-Identifier: Apache-2.0
"""What two runs did not have in common, in words: a comparison is only as fair as these allow."""

from collections.abc import Iterator, Mapping
from typing import Any

from radproof.assess.result import Result
from radproof.core.records import canonical_json

_FACTS = {
    "radproof": "version of radproof",
    "torch": "version of torch",
    "device": "device",
    "precision": "precision",
    "threads": "number of threads",
}
_PLACES = ("path", "patients", "weights", "network", "mask")  # folders of a machine: that they differ is enough
_SAID = ("name", "title", "gate", "gallery", "bootstrap", "confidence")  # of no figure that is compared
_ATTACKER = ("attacks", "adaptive", "surrogates", "goals", "eot", "preset")  # what an accuracy under attack is of
_LONG = 60


def differences(a: Result, b: Result) -> Iterator[str]:
    """Sentences: images, model, every key of the plan, versions and device."""
    if a.provenance.get("data") != b.provenance.get("data"):
        yield f"not the same choice of images: {a.images} of {a.patients} patients, {b.images} of {b.patients} patients"
    if a.provenance.get("model") != b.provenance.get("model"):
        names = [str(run.model.get("architecture", "unknown")) for run in (a, b)]
        yield (
            f"not the same model: {names[0]} and {names[1]}"
            if names[0] != names[1]
            else (f"not the same model: both are {names[0]}, with other weights")
        )
    ours, theirs = ({k: v for k, v in run.plan.items() if k not in _SAID} for run in (a, b))
    yield from _plans(ours, theirs, "")
    for key, what in _FACTS.items():
        if a.provenance.get(key) != b.provenance.get(key):
            yield f"not the same {what}: {a.provenance.get(key)} and {b.provenance.get(key)}"


def attacked_otherwise(a: Result, b: Result) -> list[str]:
    """Those that make two accuracies under attack no like for like; order and names of folders do not."""
    keys = [key for key in _ATTACKER if _content(a.plan.get(key)) != _content(b.plan.get(key))]
    ours, theirs = ({key: run.plan.get(key) for key in keys} for run in (a, b))
    return list(_plans(ours, theirs, ""))


def _content(value: Any) -> Any:
    bare = _placeless(value)
    return sorted(map(canonical_json, list[Any](bare))) if isinstance(bare, list) else bare


def _placeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _placeless(v) for k, v in dict[str, Any](value).items() if k not in _PLACES}
    return [_placeless(item) for item in list[Any](value)] if isinstance(value, list) else value


def _plans(a: Mapping[str, Any], b: Mapping[str, Any], within: str) -> Iterator[str]:
    for key in dict.fromkeys((*a, *b)):
        one, other, name = a.get(key), b.get(key), f"{within}{key}"
        if one == other:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _plans(one, other, f"{name}.")
        elif isinstance(one, list) and isinstance(other, list):
            yield from _lists(name, one, other)
        elif key in _PLACES:
            yield f"not the same {name}"
        else:
            yield f"not the same {name}: {_brief(one)} and {_brief(other)}"


def _lists(name: str, one: list[Any], other: list[Any]) -> Iterator[str]:
    only = [[item for item in ours if item not in theirs] for ours, theirs in ((one, other), (other, one))]
    told = [
        f"only the {which} has {', '.join(map(_brief, items))}"
        for which, items in zip(("first", "second"), only, strict=True)
        if items
    ]
    yield f"not the same {name}: {'; '.join(told) or 'another order'}"


def _brief(value: Any) -> str:
    """A part by its name and parameters; places and long values left out."""
    if isinstance(value, Mapping) and "name" in value:
        params = {k: v for k, v in dict(value.get("params") or {}).items() if k not in _PLACES}
        return f"{value['name']}({', '.join(f'{k}={v}' for k, v in params.items())})" if params else str(value["name"])
    if isinstance(value, (Mapping, list)):
        text = canonical_json(value)
        return text if len(text) <= _LONG and not any(f'"{place}"' in text for place in _PLACES) else "given"
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
