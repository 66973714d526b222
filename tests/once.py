# SPDX-License-Identifier: Apache-2.0
"""Folders that take long to make, made once for all of pytest's processes."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def once(base: Path, name: str, fill: Callable[[Path], object]) -> Path:
    """The folder of this name, which the first to ask fills. `base`: tmp_path_factory.getbasetemp()."""
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            fill(folder)
            done.touch()
    return folder
