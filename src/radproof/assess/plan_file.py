# SPDX-License-Identifier: Apache-2.0
"""What a YAML file says, before anything heavy is imported: who misplaced a colon is told at once."""

from pathlib import Path
from typing import Any

import yaml

from radproof.errors import BadPlan


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """A mapping from a YAML file. Raises BadPlan for anything else."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPlan(f"cannot read the {what} {path}: {error}") from None
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadPlan(f"{path.name} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise BadPlan(f"{path.name} holds {type(raw).__name__}, expected a mapping; see examples/plans")
    return raw
