# SPDX-License-Identifier: Apache-2.0
"""The server's log: lines of known keys with known kinds of values. Whatever else is said is left out.

A patient's name may stand in a file's name, a header, a query or an exception's message. So nothing that came from
outside is ever written: of a request the template of its route, of an error its class and the lines of code it came
through, of another library's message the line of code that said it.
"""

import linecache
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from pathlib import PurePath
from types import TracebackType
from typing import Any, TextIO, get_args

import structlog

from radproof.jobs.kinds import NAMES
from radproof.store.ids import is_id
from radproof.store.tables import JobState

EVENTS = frozenset(
    {
        "request", "request.failed", "server.started", "server.stopping", "server.stopped", "worker.started",
        "worker.ended", "worker.stopped", "job.started", "job.ended", "job.taken", "screener.started",
        "screener.ended", "thread.failed", "library",
    }
)  # fmt: skip
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
WORDS = frozenset({*NAMES, *get_args(JobState), "start", "stop", "restart", "upload", "screen", "sign-in"})
LIBRARIES = frozenset({"radproof", "uvicorn", "dbos", "sqlalchemy", "alembic", "asyncio", "httpx", "fastapi", "anyio"})
FRAMES = 12  # lines of code that are named of one error
_NUMBER = re.compile(r"[0-9a-f]{16}")
_CLASS = re.compile(r"[A-Za-z]{1,60}(Error|Exception|Interrupt|Timeout)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")
_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
Told = MutableMapping[str, Any]


class Deny:
    """Keeps listed keys whose values are of their kind; a processor of structlog."""

    def __init__(self, routes: Collection[str] = ()) -> None:
        self._kinds: Mapping[str, Callable[[Any], bool]] = {
            "event": lambda value: value in EVENTS,
            "level": lambda value: value in _LEVELS,
            "time": lambda value: isinstance(value, str) and _TIME.fullmatch(value) is not None,
            "request": lambda value: isinstance(value, str) and _NUMBER.fullmatch(value) is not None,
            "method": lambda value: value in METHODS,
            "route": frozenset(routes).__contains__,
            "status": lambda value: _whole(value) and 100 <= value <= 599,
            "seconds": lambda value: isinstance(value, float | int) and not isinstance(value, bool),
            **dict.fromkeys(("user", "project", "job", "run", "model", "subject"), _identifier),
            **dict.fromkeys(("action", "kind", "state"), WORDS.__contains__),
            **dict.fromkeys(("code", "attempt", "count"), _whole),
            "library": LIBRARIES.__contains__,
            "error": lambda value: isinstance(value, _Code),
            "place": lambda value: isinstance(value, _Code),
            "says": lambda value: isinstance(value, _Code),
        }

    def __call__(self, _: Any, __: str, told: Told) -> Told:
        """The event with what may be said of it."""
        kept: Told = {"event": "library"}
        for key, value in told.items():
            known = self._kinds.get(key)
            try:
                if known is not None and known(value):
                    kept[key] = value
            except TypeError:  # an unhashable value is no known word
                continue
        return kept


class _Code(str):
    """What was read off code: the name of a class, a line of a file. Nothing from outside can be one."""

    __slots__ = ()


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _identifier(value: Any) -> bool:
    return isinstance(value, str) and is_id(value)


def said_of(error: BaseException) -> dict[str, str]:
    """Its class, and the lines of code that it came through, the last one first."""
    place = " < ".join(reversed(_frames(error.__traceback__)))
    return {"error": _Code(type(error).__name__), "place": _Code(place)}


def _of_exception(_: Any, __: str, told: Told) -> Told:
    """An exception becomes its class and the lines of code it came through; its message and values are dropped."""
    found = told.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        told.update(said_of(error))
    return told


def _of_record(_: Any, __: str, told: Told) -> Told:
    """A library's message becomes the line of code that wrote it."""
    record: logging.LogRecord | None = told.get("_record")
    if record is not None and not told.get("_from_structlog"):
        told["event"] = "library"
        told["library"] = record.name.split(".", 1)[0]
        told.pop("says", None)
        if told["library"] == "radproof" and _literal(record):
            with suppress(TypeError, ValueError):
                told["says"] = _Code(record.msg % tuple(map(_shown, told.get("positional_args") or ())))
        told.setdefault("place", _Code(f"{_short(record.pathname)}:{record.lineno}"))
    return told


def _literal(record: logging.LogRecord) -> bool:
    """Whether a message stands word for word in the code that said it, so that nothing was put into it."""
    lines = (linecache.getline(record.pathname, record.lineno + more) for more in range(4))
    return isinstance(record.msg, str) and f'"{record.msg}"' in "".join(lines)


def _shown(value: Any) -> Any:
    """A value in such a message: a name of the database, a number, a known word, an error's class; else three dots."""
    known = isinstance(value, str) and (is_id(value) or value in WORDS or _CLASS.fullmatch(value) is not None)
    return value if known or isinstance(value, int | float) else "…"


def _frames(trace: TracebackType | None) -> list[str]:
    found = [f"{_short(frame.f_code.co_filename)}:{line}" for frame, line in traceback.walk_tb(trace)]
    return found[-FRAMES:]


def _short(path: str) -> str:
    """A file of code within its package, and nothing of where that is installed."""
    parts = PurePath(path).parts
    for start in ("radproof", "site-packages"):
        if start in parts[:-1]:
            at = len(parts) - 1 - parts[::-1].index(start)
            return "/".join(parts[at + (start != "radproof") :])
    return parts[-1] if parts else ""


def configure(stream: TextIO | None = None, *, routes: Collection[str] = (), terminal: bool | None = None) -> None:
    """Send every line of this process's log, libraries' too, through `Deny` to a stream (stderr): JSON, or for people.

    `routes`: the templates that may be named. `terminal`: for people; None asks the stream.
    """
    out = stream or sys.stderr
    people = out.isatty() if terminal is None else terminal
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _of_exception,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(timestamp_key="time") if people else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, pass_foreign_args=True, processors=[_of_record, Deny(routes), renderer]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(_Quiet(formatter))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("radproof").setLevel(logging.INFO)
    for name in list(logging.root.manager.loggerDict):  # those with handlers of their own would write past the root's
        if name.split(".", 1)[0] in LIBRARIES:
            other = logging.getLogger(name)
            other.handlers.clear()
            other.propagate = True
    for name in LIBRARIES - {"radproof"}:  # some have a level of their own
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a line that cannot be written is not written to stderr instead
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    threading.excepthook = _thread_failed


def logger() -> Any:
    """What `radproof` itself says: `logger().info("server.started")`."""
    return structlog.stdlib.get_logger("radproof")


class _Quiet(logging.Formatter):
    """Another formatter's line, without the traceback that the standard library would keep on the record."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return self._inner.format(record).replace("\n", " ")


def _thread_failed(args: Any) -> None:
    logger().error("thread.failed", **said_of(args.exc_value))
