# SPDX-License-Identifier: Apache-2.0
"""How often somebody may ask: token buckets in memory, one per caller and kind of request."""

import math
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock

from starlette.requests import HTTPConnection

from radproof.api.http.problems import Problem
from radproof.store.settings import Settings

NAMES = 20  # times as many attempts with one name from everywhere as from one address: nobody locks another out
MOST = 20_000  # buckets of one kind; the one that rested longest is forgotten first


class Limits:
    """Buckets that fill evenly over a minute."""

    def __init__(self, settings: Settings) -> None:
        self._rates = {
            "read": settings.reads_per_minute,
            "write": settings.writes_per_minute,
            "screen": settings.screens_per_minute,
            "sign-in": settings.sign_ins_per_minute,
            "sign-in-name": NAMES * settings.sign_ins_per_minute,
            "key-refused": 1,  # that are told in the trail
        }
        self._buckets: dict[str, OrderedDict[str, tuple[float, float]]] = {kind: OrderedDict() for kind in self._rates}
        self._lock = Lock()

    def take(self, kind: str, who: str) -> None:
        """One request. Raises Problem 429 with Retry-After where there were too many."""
        rate, buckets = self._rates[kind], self._buckets[kind]
        with self._lock:
            moment = time.monotonic()
            left, last = buckets.get(who, (float(rate), moment))
            left = min(float(rate), left + (moment - last) * rate / 60)
            if left < 1:
                wait = max(1, math.ceil((1 - left) * 60 / rate))
                raise Problem(429, f"too many requests; come back in {wait} s", headers={"Retry-After": str(wait)})
            buckets[who] = (left - 1, moment)
            buckets.move_to_end(who)
            while len(buckets) > MOST:
                buckets.popitem(last=False)


def address(request: HTTPConnection, settings: Settings) -> str:
    """Where a request comes from: the connection, or what a trusted proxy says; of IPv6 the network of 64 bits."""
    found = request.client.host if request.client else ""
    passed = [part.strip() for line in request.headers.getlist("x-forwarded-for") for part in line.split(",")]
    while passed and _trusted(found, settings):  # each trusted proxy is believed about the one before it
        found = passed.pop()
    return _network(found)


def _trusted(told: str, settings: Settings) -> bool:
    try:
        found = ip_address(told)
        return any(found in ip_network(one, strict=False) for one in settings.trusted_proxies)
    except ValueError:
        return False


def _network(told: str) -> str:
    try:
        found = ip_address(told)
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return str(found)
