# SPDX-License-Identifier: Apache-2.0
"""What readers of folders do with a file that cannot be read: refuse it, or leave it out and tell."""

from collections.abc import Callable

from radproof.errors import BadImage

Damage = Callable[[str, BadImage], None]
"""Told the file's path within the source and why; it raises, or the file is left out. Threads call it."""


def refuse(path: str, error: BadImage) -> None:
    """Raises BadImage naming the file: nothing is left out."""
    raise BadImage(f"{path}: {error}") from None
