# SPDX-License-Identifier: Apache-2.0
"""Which workers are lost: those whose sign of life has not changed for a while by this process's own steady clock."""

from collections.abc import Collection, Hashable, Mapping

LOST = 15.0  # seconds
AWAY = 6.0  # seconds between two looks after which this process itself was away, and has to watch anew


class Silence:
    """Compares signs of life with earlier ones; what they say is never compared with a clock, so that none can jump."""

    def __init__(self, lost: float = LOST, away: float = AWAY) -> None:
        self._lost, self._away = lost, away
        self._last = float("-inf")
        self._known: dict[str, tuple[Hashable, float]] = {}  # sign, since when

    def look(self, names: Collection[str], signs: Mapping[str, Hashable], at: float) -> set[str]:
        """Those of `names` that are lost; `at` is a monotonic time. A worker without a sign is watched as well."""
        if at - self._last > self._away:
            self._known.clear()
        self._last = at
        before, self._known = self._known, {}
        for name in names:
            sign = signs.get(name)
            known = before.get(name)
            self._known[name] = known if known is not None and known[0] == sign else (sign, at)
        return {name for name, (_, since) in self._known.items() if at - since >= self._lost}
