# SPDX-License-Identifier: Apache-2.0
"""The registered parts as the command line tells of them, from the packaged catalogue: without importing torch."""

import json
from importlib.resources import files
from typing import Any


def catalogue() -> dict[str, dict[str, Any]]:
    """kind -> name -> title, paper, threat, parameters."""
    return json.loads(files("radproof.schema").joinpath("parts.json").read_text(encoding="utf-8"))


def listed(kind: str) -> str:
    """One line per part, for help texts."""
    parts = catalogue()[kind]
    width = max(map(len, parts), default=0)
    return "\n".join(f"  {name:<{width}}  {part['title']}" for name, part in parts.items())
