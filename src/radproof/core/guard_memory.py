# SPDX-License-Identifier: Apache-2.0
"""How much memory a guarded process may hold: as told, else a share of what this machine or container has."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from radproof.errors import BadInput

MEMORY = "RADPROOF_GUARD_MEMORY"  # gigabytes that a guarded process may hold
SHARE = 0.75  # of the memory there is, where nothing is said
UNKNOWN = 8 * 2**30  # bytes, where the system tells nothing
_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def guard_memory(most: int | None = None, *, share: float = SHARE) -> int:
    """Bytes. What the environment tells; else a share of what there is, `most` at most. Raises BadInput."""
    told = os.environ.get(MEMORY)
    if told is None:
        found = int(share * there())
        return found if most is None else min(most, found)
    with suppress(ValueError):
        if math.isfinite(size := float(told)) and size > 0:
            return int(size * 2**30)
    raise BadInput(f"{MEMORY} is gigabytes as a number above zero, such as 8; got {told!r}")


def there(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Bytes that this process and others may hold together: the machine's, or the smallest limit of its cgroups."""
    found = list(_limits(cgroups, own))
    with suppress(ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=UNKNOWN)


def _limits(cgroups: Path, own: Path) -> Iterator[int]:
    """Those of the process's own groups and of all above, of both versions."""
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and "memory" not in kinds.split(","):
            continue
        root = cgroups / "memory" if kinds else cgroups
        name = "memory.limit_in_bytes" if kinds else "memory.max"
        steps = [part for part in path.split("/") if part not in ("", ".", "..")]
        for depth in range(len(steps) + 1):
            with suppress(OSError, ValueError):  # "max" is no number: no limit
                found = int(root.joinpath(*steps[:depth], name).read_text(encoding="ascii"))
                if found > 0:
                    yield found
