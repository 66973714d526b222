# SPDX-License-Identifier: Apache-2.0
"""Work on a stranger's file happens in a child process that can do little: one function, strict JSON in and out.

The child has no network, reads and writes only the files that it is given, sees nothing of the environment, and is
watched from here: memory, time, processes, disk. How much of that a machine allows is told as the level reached.
"""

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radproof.core.guard_doors import missing
from radproof.core.guard_process import INSIDE, Blame, Child, Limits, package
from radproof.core.guard_watch import remove
from radproof.core.guard_words import Words, plain, stopped
from radproof.core.progress import SILENT, Progress
from radproof.errors import BadInput, BadModel

__all__ = ["STRICT", "Guarded", "Limits", "guarded", "inside", "level", "missing"]

STRICT = "RADPROOF_GUARD"


@dataclass(frozen=True)
class Guarded:
    """What came of a guarded call, and how well it was guarded."""

    value: Any  # strict JSON
    level: tuple[str, ...]  # what was reached, in words for a report
    printed: str = ""  # the beginning of stdout and stderr, without control characters


def guarded(
    task: str,
    arguments: Mapping[str, Any],
    *,
    read: Sequence[str | Path] = (),
    write: Sequence[str | Path] = (),
    paths: Sequence[str | Path] = (),
    limits: Limits | None = None,
    progress: Progress = SILENT,
    blame: type[BadInput] = BadModel,
    what: str = "the model file",
    strict: bool = False,
    without: Collection[str] = (),
    until: Callable[[], bool] | None = None,
) -> Guarded:
    """Call `task` ("package.module:function") with `arguments` (strict JSON) in a guarded child process.

    The function is given `progress` too if it takes it. `read`: files and folders it may read; `write`: folders it may
    change, made if missing; `paths`: more folders to import from. Errors of radproof are raised here again as they are;
    everything else that goes wrong in the child, and links that it left in `write`, raise `blame`, about `what`.
    `strict`, or RADPROOF_GUARD=strict in the environment: raise BadInput where network or files cannot be shut off.
    `without`: "network", "mounts", "pids", "landlock", "seccomp" are left off.
    `until`: asked a few times a second, and the child is ended once it says yes.
    Raises Interrupted then, and after Ctrl-C, once the child has finished.
    """
    limits = limits or Limits()
    strict = strict or _strict()
    for link in _links(write):
        raise BadInput(f"{plain(link, 300)} is a link, and a guarded process is to write there; remove it")
    with ExitStack() as stack:
        home = tempfile.mkdtemp(prefix="radproof-")
        stack.callback(remove, home)
        home = os.path.realpath(home)
        job = {
            "task": task,
            "home": home,
            "arguments": dict(arguments),
            "read": _real(read),
            "write": _made(write, home),
            "paths": [*_real(paths), str(package())],
            "limits": {name: getattr(limits, name) for name in ("cpu", "file_size", "files", "processes")},
            "strict": strict,
            "without": sorted(without),
        }
        words = Words(progress, blame, what)
        child = stack.enter_context(Child(job, home, limits, words, Blame(blame, what), until))
        try:
            child.follow()
        except KeyboardInterrupt:
            child.interrupt()
            if words.error is None:
                raise stopped() from None
        if words.error is not None:
            raise words.error
        child.check_answered()
        done = Guarded(words.value, words.level or (), plain(child.printed.decode(errors="replace"), limits.output))
    for link in _links(write):  # what a child left is read next, by a process that may read everything
        raise blame(f"{what} was stopped: it left {plain(link, 300)}, a link; nothing is read there, remove it")
    return done


def inside() -> bool:
    """Whether this process is guarded itself: it needs no guard of its own."""
    return os.environ.get(INSIDE) == "1"


def level(*, without: Collection[str] = ()) -> tuple[str, ...]:
    """What a guard reaches on this machine, found by running one."""
    return guarded("radproof.core.guard_child:nothing", {}, without=without).level


def _real(paths: Sequence[str | Path]) -> list[str]:
    return [os.path.realpath(path) for path in paths]


def _strict() -> bool:
    told = os.environ.get(STRICT, "")
    if told not in ("", "strict"):
        raise BadInput(f"{STRICT} is strict or not set; got {told!r}")
    return told == "strict"


def _links(folders: Sequence[str | Path]) -> Iterator[str]:
    """Symbolic links below folders."""
    for folder in _real(folders):
        for parent, inner, names in os.walk(folder):
            yield from (
                path for path in (os.path.join(parent, name) for name in (*inner, *names)) if os.path.islink(path)
            )


def _made(write: Sequence[str | Path], home: str) -> list[str]:
    """Its own folder and those given; one within another is left out."""
    for path in map(Path, write):
        if not path.exists():
            path.mkdir(parents=True)
    places = sorted({home, *_real(write)})
    return [
        place for place in places if not any(other != place and Path(other) in Path(place).parents for other in places)
    ]
