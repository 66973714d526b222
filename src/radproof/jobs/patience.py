# SPDX-License-Identifier: Apache-2.0
"""A database that is away for a while is waited for."""

import logging
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, TimeoutError

AWAY = (OperationalError, InterfaceError, InternalError, TimeoutError)
_FIRST, _MOST = 0.2, 5.0  # seconds
log = logging.getLogger(__name__)
T = TypeVar("T")


class GaveUp(Exception):
    """The process ends before the database came back."""


def patiently(do: Callable[[], T], stop: Event) -> T:
    """What `do` returns, tried again while the database is away. Raises GaveUp once `stop` is set."""
    pause = _FIRST
    while True:
        try:
            return do()
        except AWAY as error:
            if pause == _FIRST:
                log.warning("the database is away (%s); waiting for it", type(error.__cause__ or error).__name__)
        if stop.wait(pause):
            raise GaveUp
        pause = min(2 * pause, _MOST)
