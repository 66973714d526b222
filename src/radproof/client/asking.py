# SPDX-License-Identifier: Apache-2.0
"""What all questions to a server have in common: its transport, lists by pages, removals, names."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import httpx

from radproof.client.http import NotFound, Transport
from radproof.client.records import Told
from radproof.errors import BadInput

API = "/api/v1"
T = TypeVar("T", bound=Told)


class Asking:
    """One server and one key."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        allow_http: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._sleep = sleep
        self._server = Transport(url, key, timeout=timeout, allow_http=allow_http, sleep=sleep, inner=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._server.close()

    def _remove(self, path: str) -> None:
        try:
            self._server.call("DELETE", f"{API}/{path}")
        except NotFound as error:
            if not error.again:
                raise

    def _all(self, path: str, kind: type[T], **query: Any) -> Iterator[T]:
        cursor: str | None = None
        while True:
            page = self._server.call("GET", f"{API}/{path}", query={**query, "limit": 100, "cursor": cursor})
            for item in page["items"]:
                yield kind.model_validate(item)
            cursor = page.get("next")
            if not cursor:
                return


def named(id: str) -> str:
    """A name of the server's, which never holds what would lead elsewhere."""
    if not id or not all((c.isalnum() and c.isascii()) or c in "_-" for c in id):
        raise BadInput("a name on a server is letters, digits, - and _, such as run_0123…")
    return id
