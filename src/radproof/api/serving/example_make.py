# SPDX-License-Identifier: Apache-2.0
"""The run that a new server shows, made with all that its first start would wait for: `make serve` calls it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from radproof.api.serving.example_facts import GUARD, GUARD_FACTS, KEPT, facts
from radproof.core.files import write_text

LOOK = 0.2  # seconds between two looks for the model


def make(plan: Path, run: Path) -> int:
    """Do the run by `radproof assess`, and return its exit code; the guard is made beside the attacks."""
    command = [sys.executable, "-m", "radproof", "assess", str(plan), "--out", str(run)]
    # Two processes share the cores: threads that wait must not spin.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment) as child:
        import torch

        from radproof.assess.plan import read_plan

        torch.set_num_threads(1)  # the other process has work for the rest
        data = read_plan(plan).data
        while child.poll() is None and not (run / "model" / "card.yaml").is_file():
            time.sleep(LOOK)
        if not child.poll():
            guard(run, data.split, data.seed)
    if not child.returncode:
        keep(run)
    return child.returncode


def guard(run: Path, split: str, seed: int) -> None:
    """Make a guard of a run's model, as `radproof guard` does; `split` and `seed` are those of its plan's data."""
    from radproof import app

    made = app.guard(run / "model", _images(run), run / GUARD, split=split, seed=seed)
    write_text(run / GUARD_FACTS, made.model_dump_json())


def keep(run: Path) -> None:
    """Tell the facts of a finished run's model and images, and write the folds into its manifest."""
    from radproof import app
    from radproof.assess.finished import read_result
    from radproof.data.findings import Audit

    result = read_result(run)
    section = result.plan["data"]
    audited = Audit.model_validate_json(json.dumps(result.audit))
    data = facts(_images(run), str(section["split"]), int(section["seed"]), audited)
    with TemporaryDirectory() as cache:
        model = app.describe(run / "model", cache=Path(cache)).model_dump(mode="json")
    write_text(run / KEPT, json.dumps({"model": model, "data": data}))


def _images(run: Path) -> Path:
    return next(iter(sorted((run / "data").glob("*/manifest.parquet")))).parent


if __name__ == "__main__":
    sys.exit(make(Path(sys.argv[1]), Path(sys.argv[2])))
