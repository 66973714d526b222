# SPDX-License-Identifier: Apache-2.0
"""What stands outermost: a number for every request, one line in the log, the figures, and patience with an end."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from radproof.api.http.problems import Problem
from radproof.api.http.wanted import SCREENING
from radproof.api.observing.logs import METHODS, logger, said_of
from radproof.api.observing.metrics import Metrics
from radproof.api.people.access import Caller

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

PREFIX = "/api/v1"  # of the resources; a route does not know under which its router was put
PATIENCE = 30.0  # seconds that a body may pause; and that it may take in all, with one more for every
SLOWEST = 10_000  # bytes of it


class Observed:
    """An application as it is seen from outside."""

    def __init__(self, app: App, metrics: Metrics, *, patience: float = PATIENCE, slowest: int = SLOWEST) -> None:
        self.app, self.metrics, self.patience, self.slowest = app, metrics, patience, slowest
        self.log = logger()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, or the application's own beginning and end."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["request"] = secrets.token_hex(8)
        exchange = _Exchange(self, scope, receive, send)
        screens = scope["method"] == "POST" and scope["path"] in SCREENING
        with self.metrics.screening_now.track_inprogress() if screens else _nothing:
            try:
                await self.app(scope, exchange.receive, exchange.send)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                exchange.failed(error)
                if not exchange.status:
                    await exchange.send({"type": "http.response.start", "status": 500, "headers": []})
                    await exchange.send({"type": "http.response.body", "body": b""})
            finally:
                exchange.ended()


def template(scope: MutableMapping[str, Any]) -> str:
    """The template of the route that a request went to; "" for none. Nothing of the path itself is in it."""
    route: str = getattr(scope.get("route"), "path", "")
    under = route and not route.startswith(PREFIX) and str(scope["path"]).startswith(f"{PREFIX}/")
    return f"{PREFIX}{route}" if under else route


class _Nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


_nothing = _Nothing()


class _Exchange:
    """One request and its answer."""

    def __init__(self, around: Observed, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.around, self.scope, self._receive, self._send = around, scope, receive, send
        self.began = time.monotonic()
        self.status = self.received = 0
        self.first: float | None = None  # seconds to the answer's head
        self.whole = False

    async def receive(self) -> Message:
        """The next part of the body, which may not be waited for without end. Raises Problem 408."""
        if self.whole:
            return await self._receive()
        patience = self.around.patience
        left = self.began + patience + self.received / self.around.slowest - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), min(patience, max(0.0, left)))
        except TimeoutError:
            self.whole = True
            if self.status:  # it is being answered already
                return {"type": "http.disconnect"}
            told = "the request came too slowly; send it again over a faster connection"
            raise Problem(408, told, headers={"Connection": "close"}) from None
        self.received += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer; its head gets the request's number."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.first = time.monotonic() - self.began
            number = self.scope["state"]["request"].encode()
            headers = [*message.get("headers", []), (b"x-request-id", number)]
            message = {**message, "headers": headers}
        await self._send(message)

    def failed(self, error: Exception) -> None:
        """A line that says where in the code, and nothing of what was in hand."""
        self.around.log.error("request.failed", **said_of(error), **self._told())

    def ended(self) -> None:
        """The line of every request."""
        told = self._told()
        seconds = time.monotonic() - self.began
        status = self.status or 499  # the caller went away
        self.around.log.info("request", status=status, seconds=round(seconds, 4), **told)
        known = told["method"] if told["method"] in METHODS else "other"
        self.around.metrics.answered(known, told["route"], status, self.first or seconds, self.received)

    def _told(self) -> dict[str, Any]:
        state = self.scope["state"]
        who: Caller | None = state.get("caller")
        return {
            "request": state["request"],
            "method": self.scope["method"],
            "route": template(self.scope),
            "user": who.user_id if who else None,
            "project": who.project_id if who else None,
        }
