# SPDX-License-Identifier: Apache-2.0
"""What in a plan lies outside of it: files, other machines, networks that are no part of radproof.

A server refuses all of it, and whoever sends it a plan says so before anything is sent.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

FILES = ("path", "card", "weights", "patients", "labels", "mask", "network")  # whose value is a file's name
ADDRESSES = ("endpoint", "url", "pretrained")  # of other machines
NETWORK = re.compile(r"(torchvision:)?[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")  # no address, no folder
Outside = Literal["file", "address", "network"]


def outside(value: Any, where: str) -> Iterator[tuple[Outside, str]]:
    """What a section names, anywhere below, and in which place: ("file", "attacks.params.network")."""
    stack: list[tuple[str, Any]] = [(where, value)]
    while stack:
        place, one = stack.pop()
        if isinstance(one, Mapping):
            for key, inner in cast("Mapping[Any, Any]", one).items():
                kind = _kind(str(key), inner, place)
                if kind:
                    yield kind, f"{place}.{key}"
                stack.append((f"{place}.{key}", inner))
        elif isinstance(one, list | tuple):
            stack.extend((place, inner) for inner in cast("list[Any]", one))


def _kind(key: str, value: Any, place: str) -> Outside | None:
    if value is None or value is False or (key == "network" and place == "certify"):  # a network of this plan
        return None
    if key in ADDRESSES:
        return "address"
    if key in FILES and isinstance(value, str):
        return "file"
    plain = isinstance(value, str) and NETWORK.fullmatch(value)
    return "network" if key == "architecture" and not plain else None
