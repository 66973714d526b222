# SPDX-License-Identifier: Apache-2.0
"""DICOM libraries warn with the values they stumble over, and values are patients: nothing of it is shown."""

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager

_lock = threading.Lock()
_inside: list["warnings.catch_warnings[None]"] = []  # the outermost keeps the filters that are restored at the end
_depth = [0]


@contextmanager
def quiet() -> Generator[None]:
    """No warnings from here; several threads may be inside at once, the last restores what was shown before."""
    with _lock:
        _depth[0] += 1
        if _depth[0] == 1:
            kept = warnings.catch_warnings()
            kept.__enter__()
            _inside.append(kept)
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _depth[0] -= 1
            if _depth[0] == 0:
                _inside.pop().__exit__(None, None, None)
