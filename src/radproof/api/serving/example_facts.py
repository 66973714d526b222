# SPDX-License-Identifier: Apache-2.0
"""What pages show of an example's model and images. It loads the whole laboratory, so a process of its own does it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radproof.errors import BadData, BadModel

if TYPE_CHECKING:
    from radproof.data.findings import Audit

MOST = 600  # seconds
# In the run's folder, written ahead by example_make.
KEPT = "facts.json"
GUARD = "guard.safetensors"
GUARD_FACTS = "guard.json"  # as `radproof guard --json` tells them


def model_facts(folder: Path) -> dict[str, Any]:
    """Of a model's folder, as `radproof model describe` tells it. Raises BadModel."""
    command = [sys.executable, "-m", "radproof", "model", "describe", str(folder), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MOST, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BadModel("the example's model cannot be described; try `radproof model describe` on it")
    return json.loads(done.stdout)


def data_facts(folder: Path, by: str, seed: int) -> dict[str, Any]:
    """Of a data set, whose folds are written into its manifest as a run's plan made them. Raises BadData."""
    code = "from radproof.api.serving.example_facts import write; write()"
    command = [sys.executable, "-c", code, str(folder), by, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MOST, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BadData("the example's images cannot be read; make the run again")
    return json.loads(done.stdout)


def kept(run: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What was told ahead of a run's model and images; the folds are in its manifest then."""
    if not (run / KEPT).is_file():
        return None
    told = json.loads((run / KEPT).read_text(encoding="utf-8"))
    return told["model"], told["data"]


def write() -> None:
    """In the other process: split, write, and print the facts."""
    print(json.dumps(facts(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))


def facts(folder: Path, by: str, seed: int, audited: "Audit | None" = None) -> dict[str, Any]:
    """Facts of a data set, once its folds are written into its manifest."""
    from typing import cast

    from radproof.assess.received import facts_of
    from radproof.core.progress import SILENT
    from radproof.data.manifest import NAME, Manifest
    from radproof.data.splits import Way, split
    from radproof.data.zipped import Unpacked

    found = Manifest.read(folder)
    made = found if all(sample.fold for sample in found.samples) else split(found, by=cast(Way, by), seed=seed)
    made.write(folder / NAME)
    told = facts_of(
        made, made, str(made.source.get("kind", "manifest")), (), Unpacked(0, 0, (), {}), SILENT, audited=audited
    )
    return {**told.model_dump(mode="json"), "removed": ""}
