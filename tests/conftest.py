"""Fixtures for everyone: one thread, the shared folder, small images and a small classifier."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Tests never judge by the clock, and the same examples are tried everywhere.
settings.register_profile("radproof", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("radproof")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real radiographs and weights, or a skip that says so."""
    folder = Path(os.environ.get("RADPROOF_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("no shared data beside the project (set RADPROOF_SHARED)")
    return folder
