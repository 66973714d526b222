# SPDX-License-Identifier: Apache-2.0
"""The DICOM library tamed: imported by one thread, and its warnings, which quote patients, are not shown."""

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module

_lock, _importing = threading.Lock(), threading.Lock()
_inside: list["warnings.catch_warnings[None]"] = []  # the outermost keeps the filters that are restored at the end
_depth = [0]


def whole() -> None:
    """Import the library. Threads that import its parts at the same time may each find the other's unfinished."""
    with _importing:
        for part in ("datadict", "encaps", "filereader", "pixels.decoders.base", "sequence", "uid"):
            import_module(f"pydicom.{part}")


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
