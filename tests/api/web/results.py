# SPDX-License-Identifier: Apache-2.0
"""A finished run on a server, and one whose every name is hostile."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from tests.api.conftest import House
from tests.api.seeded import Seeds, seed

HOSTILE = "<script>alert(1)</script>\"' onload=x <img src=x onerror=y>"


def rename(value: Any, old: str, new: str) -> Any:
    """The same JSON with a word that is a whole value, a key or part of an answer replaced."""
    if isinstance(value, dict):
        return {rename(key, old, new): rename(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [rename(inner, old, new) for inner in value]
    return value.replace(old, new) if isinstance(value, str) else value


def hostile(house: House, folder: Path, base: Path) -> Seeds:
    """The run with its first class and its title named as a script would be."""
    there = base / "hostile"
    shutil.copytree(folder, there)
    told = rename(json.loads((there / "result.json").read_text()), "Pneumonia", HOSTILE)
    told |= {"title": HOSTILE, "verdict": f"{HOSTILE}. {HOSTILE}"}
    (there / "result.json").write_text(json.dumps(told))
    rows = pd.read_parquet(there / "rows.parquet")
    for name in ("truth", "answer"):
        rows[name] = rows[name].str.replace("Pneumonia", HOSTILE, regex=False)
    rows.to_parquet(there / "rows.parquet")
    return seed(house, there)
