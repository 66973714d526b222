# SPDX-License-Identifier: Apache-2.0
"""Several grades of a corruption, or all corruptions, in one line of a plan."""

from collections.abc import Iterable, Iterator
from typing import Any

from radproof.assess.plan import Part
from radproof.attacks.corruptions.graded import TABLE
from radproof.errors import BadPlan

ALL = "xray"
GRADE = "severity"


def spread(parts: Iterable[Part]) -> tuple[Part, ...]:
    """{name: rotation, severity: [1, 5]} as two parts, and {name: xray} as every corruption of the table.

    Raises BadPlan for an empty list, for one that names a grade twice, and for other parameters of xray.
    """
    return tuple(one for part in parts for named in _named(part) for one in _graded(named))


def _named(part: Part) -> Iterator[Part]:
    if part.name != ALL:
        yield part
        return
    foreign = [key for key in part.params if key != GRADE]
    if foreign:
        raise BadPlan(f"{ALL} stands for all graded corruptions and takes {GRADE} alone; got {foreign[0]!r}")
    for name in TABLE:
        yield Part(name=name, params=part.params)


def _graded(part: Part) -> Iterator[Part]:
    wanted: Any = part.params.get(GRADE)
    if not isinstance(wanted, (list, tuple)):
        yield part
        return
    if not wanted or len(set(map(str, wanted))) < len(wanted):
        raise BadPlan(f"{part.name}: {GRADE}: expected one or more different grades such as [1, 3, 5], got {wanted!r}")
    for grade in wanted:
        yield Part(name=part.name, params={**part.params, GRADE: grade})
