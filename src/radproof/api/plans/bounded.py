# SPDX-License-Identifier: Apache-2.0
"""What a server takes of a plan at most, and which attacks it does not run, wherever in the plan they stand."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from radproof.api.http.problems import Problem

PHANTOMS, PHANTOM_SIZE = 5000, 512
_ENTRIES = {"attacks": 40, "budgets": 16, "goals": 12, "defenses": 16, "adaptive": 16, "detectors": 12, "aware": 16,
            "corruptions": 40, "surrogates": 6, "hardened": 8, "gate": 40, "gradients": 16, "behind": 8, "of": 6,
            "against": 12, "made_on": 7, "radii": 64}  # fmt: skip
_NUMBERS = {"queries": 100_000, "gradients": 10_000, "epochs": 200, "head_epochs": 200, "inflate": 100_000,
            "bootstrap": 20_000}  # fmt: skip
_LARGEST = 1_000_000  # of any other number, but seeds
_LIBRARIES = "foreign"  # the attack that runs another library's
_WORDS = ("title", "name", "gate")  # of a plan's own: what it says there names no attack


def check_bounds(told: Mapping[str, Any]) -> None:
    """Raises Problem 422 for a plan that asks too much of a server, or for attacks of other libraries."""
    for where, key, value in _walk(told):
        _check_entries(where, key, value)
        _check_number(where, key, value)
        if isinstance(value, str) and where not in _WORDS and value.partition("[")[0].strip() == _LIBRARIES:
            raise Problem(422, f"{where}: attacks of other libraries run on the command line alone, not on a server")
    data = told.get("data")
    if isinstance(data, dict) and cast("dict[str, Any]", data).get("kind") == "phantom":
        for key, most in (("count", PHANTOMS), ("size", PHANTOM_SIZE)):
            if (_number(cast("dict[str, Any]", data).get(key)) or 0) > most:
                raise Problem(422, f"data.{key}: a server draws at most {PHANTOMS} phantoms of {PHANTOM_SIZE} pixels")


def _walk(told: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(where, the key that it stands under, value) of everything in a plan; entries of a list stand where it does."""
    stack: list[tuple[str, str, Any]] = [(str(key), str(key), value) for key, value in told.items()]
    while stack:
        where, key, value = stack.pop()
        yield where, key, value
        if isinstance(value, Mapping):
            inner = cast("Mapping[Any, Any]", value)
            stack.extend((f"{where}.{name}", str(name), one) for name, one in inner.items())
        elif isinstance(value, list):
            stack.extend((where, key, one) for one in cast("list[Any]", value))


def _check_entries(where: str, key: str, value: Any) -> None:
    most = _ENTRIES.get(key)
    if most is not None and isinstance(value, list | dict) and len(cast("list[Any]", value)) > most:
        raise Problem(422, f"{where}: {len(cast('list[Any]', value))} entries; a server takes at most {most}")


def _check_number(where: str, key: str, value: Any) -> None:
    if key == "seed":
        return
    number, most = _number(value), _NUMBERS.get(key, _LARGEST)
    if number is not None and number > most:
        raise Problem(422, f"{where}: {value!s:.40}; a server takes at most {most:,}")


def _number(value: Any) -> float | None:
    """A number, or a text that the plan's readers take for one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
