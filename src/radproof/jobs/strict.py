# SPDX-License-Identifier: Apache-2.0
"""What the engine keeps is strict JSON, and nothing else is read from its database: its pickles are shut off."""

import json
import math
from typing import Any, NoReturn, cast

from dbos import Serializer
from dbos import _serialization as theirs  # pyright: ignore[reportPrivateUsage]

NAME = "radproof-json"
_ERROR = "!error"
_MOST = 32_000_000  # characters of one value


class Refused(Exception):
    """A value in the engine's database that is no strict JSON."""


class Kept(Exception):
    """An error that was kept: its name and its message alone."""


class StrictJson(Serializer):
    """dict, list, str, int, float, bool and None; errors as name and message."""

    def name(self) -> str:
        """How rows say that it wrote them."""
        return NAME

    def serialize(self, data: Any) -> str:
        """Raises TypeError for another kind of value and ValueError for NaN and infinities."""
        if isinstance(data, BaseException):
            data = {_ERROR: {"name": type(data).__name__, "message": str(data)[:2000]}}
        elif isinstance(data, dict) and isinstance(cast("dict[str, Any]", data).get("args"), tuple):
            data = {**cast("dict[str, Any]", data), "args": list(cast("dict[str, Any]", data)["args"])}
        _check(data)
        return json.dumps(data, allow_nan=False, separators=(",", ":"))

    def deserialize(self, serialized_data: str) -> Any:
        """Raises Refused for anything else than this class writes."""
        if not isinstance(serialized_data, str) or len(serialized_data) > _MOST:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise Refused("a value in the engine's database is no text, or too long")
        try:
            found: Any = json.loads(serialized_data, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise Refused("a value in the engine's database is no strict JSON; it is not read") from None
        if isinstance(found, dict) and set(cast("dict[str, Any]", found)) == {_ERROR}:
            told = cast("dict[str, dict[str, Any]]", found)[_ERROR]
            return Kept(f"{told.get('name')}: {told.get('message')}")
        return found


def shut() -> None:
    """From now on nothing in this process reads or writes a pickle for the engine, whatever a row says it holds.

    The engine has pickle as its default and, for rows marked py_pickle, beside any other serialiser. Both ways go
    through one class, whose two methods are replaced; the module's own name for pickle is, too.
    """
    ours = StrictJson()
    for kind in (theirs.DefaultSerializer, theirs.DBOSPortableJSONSerializer):
        kind.serialize = lambda self, data: ours.serialize(data)  # pyright: ignore[reportAttributeAccessIssue]
        kind.deserialize = lambda self, serialized_data: ours.deserialize(serialized_data)  # pyright: ignore[reportAttributeAccessIssue]
    setattr(theirs, "pickle", _NoPickle())  # noqa: B010


class _NoPickle:
    def __getattr__(self, name: str) -> NoReturn:
        raise Refused("pickles are shut off")


def _check(value: Any) -> None:
    """Raises TypeError, ValueError."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            for key, inner in cast("dict[Any, Any]", one).items():
                if type(key) is not str:
                    raise TypeError("a key is not text")
                stack.append(inner)
        elif type(one) is list:
            stack.extend(cast("list[Any]", one))
        elif type(one) is float:
            if not math.isfinite(one):
                raise ValueError("NaN and infinities are no JSON")
        elif one is not None and type(one) not in (str, int, bool):
            raise TypeError(f"{type(one).__name__} is not kept in the engine's database")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)
