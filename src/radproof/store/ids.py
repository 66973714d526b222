# SPDX-License-Identifier: Apache-2.0
"""Names of things in the database: random, so that none can be guessed, and plain, so that none can be a path."""

import re
import secrets
from typing import Literal

Kind = Literal["usr", "prj", "key", "inv", "fil", "mdl", "dat", "pln", "run", "grd", "job", "rdr", "trl"]
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing that reads as something else
_LONG = 26  # characters, 130 bits
PATTERN = r"[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}"
_WHOLE = re.compile(PATTERN)


def new_id(kind: Kind) -> str:
    """A name for a new thing: "run_" and 26 random characters."""
    return f"{kind}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_LONG))


def is_id(text: str, kind: Kind | None = None) -> bool:
    """Whether a text is such a name (of this kind)."""
    return _WHOLE.fullmatch(text) is not None and (kind is None or text.startswith(f"{kind}_"))
