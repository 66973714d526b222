# SPDX-License-Identifier: Apache-2.0
"""Requests to a server: retried where it says so, never redirected, problems as errors of this package."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx

from radproof.core.files import atomic
from radproof.core.hosts import loopback
from radproof.errors import BadInput, RadproofError, StorageFull, UnknownName

KEY = "RADPROOF_KEY"
AGAIN = (429, 503)
TRIES = 6
LONGEST = 60.0  # seconds to wait before another try
PIECE = 1 << 20  # bytes of a download


class Refused(BadInput):
    """The server refused; `status` is HTTP's, `again`: after a try whose answer was lost, so that it may be done."""

    def __init__(self, message: str, status: int, again: bool = False) -> None:
        super().__init__(message)
        self.status, self.again = status, again


class NotFound(Refused, UnknownName):
    """It has nothing of that name in the projects of the key."""

    http_status: ClassVar[int] = 404


class ServerFailed(RadproofError):
    """Something went wrong in the server, or between it and here."""


class Transport:
    """One server, and the key that it is asked with."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        allow_http: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        inner: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = _checked(url, allow_http)
        told = key if key is not None else os.environ.get(KEY, "")
        if not told.isascii() or not told.isprintable():
            raise BadInput(f"an API key is of letters, digits, - and _; check {KEY}")
        headers = {"Authorization": f"Bearer {told}"} if told else {}
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout, follow_redirects=False, transport=inner
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, Path] | None = None,
        once: bool = False,
    ) -> Any:
        """The JSON of an answer; None where there is none. `files` are read anew at every try.

        `once`: with an idempotency key, where the resource takes one.
        """
        headers = {"Idempotency-Key": token_hex(16)} if once else {}
        params = {key: value for key, value in (query or {}).items() if value is not None}

        def send() -> httpx.Response:
            with ExitStack() as stack:
                opened = {
                    name: ("upload" + file.suffix.lower(), stack.enter_context(file.open("rb")))
                    for name, file in (files or {}).items()
                }
                return self._http.request(
                    method, path, json=json, params=params, data=dict(form or {}) or None, files=opened or None,
                    headers=headers,
                )  # fmt: skip

        answer = self._tried(send)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise ServerFailed(f"{self.url} does not answer as a radproof server does; check its address") from None

    def download(self, path: str, target: Path) -> Path:
        """Write an answer's bytes; the file takes its name when it is whole. An older one is replaced."""

        def fetch() -> httpx.Response:
            with self._http.stream("GET", path) as answer:
                if answer.status_code != 200:
                    answer.read()
                    return answer
                with atomic(target) as temporary, temporary.open("wb") as stream:
                    for piece in answer.iter_bytes(PIECE):
                        stream.write(piece)
                return answer

        self._tried(fetch)
        return target

    def _tried(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        lost = False  # an answer, so that what was asked may be done
        for attempt in range(1, TRIES + 1):
            try:
                answer = send()
            except httpx.TransportError as error:
                lost = lost or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if attempt == TRIES or isinstance(error, httpx.UnsupportedProtocol):
                    raise ServerFailed(f"{self.url} does not answer ({type(error).__name__})") from None
                self._sleep(_pause(attempt))
                continue
            if attempt < TRIES and (answer.status_code in AGAIN or _at_work(answer)):
                lost = lost or answer.status_code == 503  # by a proxy, perhaps, whose server is at work
                self._sleep(_told_pause(answer, attempt))
                continue
            _check(answer, self.url, lost)
            return answer
        raise AssertionError("every try returned or raised")


def _checked(url: str, allow_http: bool) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise BadInput("a server's address is https://HOST or https://HOST:PORT, without name, query or fragment")
    if parts.scheme == "http" and not allow_http and not loopback(parts.hostname):
        raise BadInput("by http:// everybody on the way reads the key and the images; give the https:// address")
    return url.rstrip("/")


def plain(text: str) -> str:
    """Without characters that command a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)[:1000]


def _pause(attempt: int) -> float:
    return min(LONGEST, 0.5 * 2 ** (attempt - 1))


def _told_pause(answer: httpx.Response, attempt: int) -> float:
    """As Retry-After says, in seconds or as a date; else ever longer."""
    told = answer.headers.get("retry-after", "")
    if told.isdecimal():
        return min(LONGEST, float(told))
    try:
        wait = parsedate_to_datetime(told).timestamp() - time.time()
    except (TypeError, ValueError):
        return _pause(attempt)
    return min(LONGEST, max(0.0, wait))


def _at_work(answer: httpx.Response) -> bool:
    """Whether an earlier try of the same request is not done yet."""
    return answer.status_code == 409 and "retry-after" in answer.headers


def _check(answer: httpx.Response, url: str, again: bool) -> None:
    status = answer.status_code
    if status < 300:
        return
    if status < 400:
        raise Refused(f"{url} sends elsewhere; a key is not taken there: give the server's own address", status)
    said = _detail(answer)
    if status == 404:
        raise NotFound(said, status, again)
    if status == 507:
        raise StorageFull(said)
    if status >= 500:
        raise ServerFailed(said)
    raise Refused(said, status, again)


def _detail(answer: httpx.Response) -> str:
    """What the problem says, without characters that command a terminal."""
    try:
        told = answer.json()
        text = str(told.get("detail") or told.get("title") or "") if isinstance(told, dict) else ""
    except ValueError:
        text = ""
    number = answer.headers.get("x-request-id", "")
    asked = f" (request {number})" if answer.status_code >= 500 and number.isalnum() else ""
    return (plain(text) or f"the server answered {answer.status_code}") + asked
