# SPDX-License-Identifier: Apache-2.0
"""Hints for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(given: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or all of them."""
    known = sorted(known)
    near = get_close_matches(given.lower(), {name.lower(): name for name in known}, n=1)
    if near:
        original = next(name for name in known if name.lower() == near[0])
        return f"; did you mean {original!r}?"
    return f"; known: {', '.join(known)}"
