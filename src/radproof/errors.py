# SPDX-License-Identifier: Apache-2.0
"""One exception tree; each class knows its exit code and HTTP status.

RadproofError            3    500   something inside went wrong
├── BadInput             2    422   what was given cannot be used; the message says what to do
│   ├── UnknownName      2    404   no part, class, finding or file goes by this name
│   ├── BadImage         2    422   a file is not a readable image within the limits
│   ├── BadData          2    422   a data set cannot be used as asked
│   ├── BadModel         2    422   a model or its card cannot be used
│   │   └── NoGradient   2    422   an attack climbs a gradient, and the model's answer has none
│   └── BadPlan          2    422   a plan asks for something impossible
├── GateFailed           1    409   the work was done and the answer is "no"
├── StorageFull          2    507   the disk is full; nothing half-written is left
└── Interrupted        130    499   stopped by the user; finished batches are kept
"""

from typing import ClassVar


class RadproofError(Exception):
    """Something inside went wrong."""

    exit_code: ClassVar[int] = 3
    http_status: ClassVar[int] = 500


class BadInput(RadproofError):
    """What was given cannot be used; the message says what was given, what was expected, what to do."""

    exit_code = 2
    http_status = 422


class UnknownName(BadInput):
    """No part, class, finding or file goes by this name."""

    http_status = 404


class BadImage(BadInput):
    """A file is not a readable image within the limits."""


class BadData(BadInput):
    """A data set cannot be used as asked."""


class BadModel(BadInput):
    """A model or its card cannot be used."""


class NoGradient(BadModel):
    """An attack climbs a gradient, and the model's answer has none."""


class BadPlan(BadInput):
    """A plan asks for something impossible."""


class GateFailed(RadproofError):
    """The work was done and the answer is "no": a gate, an audit."""

    exit_code = 1
    http_status = 409


class StorageFull(RadproofError):
    """The disk is full; nothing half-written is left."""

    exit_code = 2
    http_status = 507


class Interrupted(RadproofError):
    """Stopped by the user; finished batches are kept and the same command goes on from there."""

    exit_code = 130
    http_status = 499
