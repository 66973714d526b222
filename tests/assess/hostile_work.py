# SPDX-License-Identifier: Apache-2.0
"""What a stranger's file would try if it could run: work with the arguments of a plan's, for a guarded child."""

import os
import socket
import time
from pathlib import Path


def work(what, plan, out, overwrite, replay, progress=None):
    """Every attempt by name, and what became of it; what is in the plan's own folder works."""
    model = plan["model"]["path"]
    return {
        "write into the run": tried(lambda: open(f"{out}/kept", "w").close()),
        "read the model": tried(Path(model).read_bytes),
        "write over the model": tried(lambda: open(model, "ab").close()),
        "write beside the run": tried(lambda: open(f"{out}-outside", "w").close()),
        "read a neighbour": tried(Path(f"{out}-secret").read_bytes),
        "call home": tried(lambda: socket.create_connection(("127.0.0.1", plan["seed"]), timeout=5).close()),
        "read the environment": "done" if "SHELTER_SECRET" in os.environ else "refused",
    }


def waits(what, plan, out, overwrite, replay, progress):
    """Finish a batch, and be long about the next."""
    batch = Path(out) / "work" / "batches" / "pgd" / "0000.npz"
    batch.parent.mkdir(parents=True)
    batch.write_bytes(b"")
    progress.start("attacks", 2)
    progress.advance("attacks")
    progress.note("one batch")
    time.sleep(600)


def tried(attempt):
    """done or refused."""
    try:
        attempt()
    except OSError:
        return "refused"
    return "done"


def readable(paths: list[str]) -> list[bool]:
    """Which of some files can be read from here."""
    return [_reads(path) for path in paths]


def _reads(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return bool(stream.read(1))
    except OSError:
        return False
