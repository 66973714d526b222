# SPDX-License-Identifier: Apache-2.0
"""What pages show of an example's model and images. It loads the whole laboratory, so a process of its own does it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from radproof.core.files import write_text
from radproof.errors import BadData, BadModel

MOST = 600  # seconds
KEPT = "facts.json"  # in the run's folder: `python -m radproof.api.serving.example_facts RUN` writes it ahead


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


def keep(run: Path) -> None:
    """Tell it ahead, so that a server's first start need not wait for it."""
    section = json.loads((run / "result.json").read_text(encoding="utf-8"))["plan"]["data"]
    images = next(iter(sorted((run / "data").glob("*/manifest.parquet"))), None)
    data = data_facts(images.parent, str(section["split"]), int(section["seed"])) if images else {}
    write_text(run / KEPT, json.dumps({"model": model_facts(run / "model"), "data": data}))


def write() -> None:
    """In the other process: split, write, and print the facts."""
    from typing import cast

    from radproof.assess.received import facts_of
    from radproof.core.progress import SILENT
    from radproof.data.manifest import NAME, Manifest
    from radproof.data.splits import Way, split
    from radproof.data.zipped import Unpacked

    folder, by, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    found = Manifest.read(folder)
    made = found if all(sample.fold for sample in found.samples) else split(found, by=cast(Way, by), seed=seed)
    made.write(folder / NAME)
    told = facts_of(made, made, str(made.source.get("kind", "manifest")), (), Unpacked(0, 0, (), {}), SILENT)
    print(json.dumps({**told.model_dump(mode="json"), "removed": ""}))


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
