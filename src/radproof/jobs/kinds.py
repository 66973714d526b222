# SPDX-License-Identifier: Apache-2.0
"""What kinds of work there are: which command line each one is, and what its end means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from sqlalchemy.orm import Session

from radproof.errors import UnknownName
from radproof.store.files import Files
from radproof.store.settings import Settings
from radproof.store.tables import Job


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int  # 0: well; 1: the work was done and the answer is "no"; 130: it was stopped; else it failed
    stdout: str = ""
    error: str = ""  # one sentence for the user


def ignore(session: Session, job: Job) -> None:
    """Nothing follows."""


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    `prepare` writes what the command needs and returns its arguments; it is called again after every restart.
    `finish` changes the subject's row when the job is done, failed or cancelled (`job.state` says which), in the same
    transaction. `follow` is called after every change of state.
    """

    prepare: Callable[[Session, Job, Settings, Files], list[str]]
    finish: Callable[[Session, Job, Settings, Outcome], None]
    follow: Callable[[Session, Job], None] = ignore


NAMES = ("assess", "model", "check", "data", "guard")
_OWN, _OTHERS = "assess", "radproof.jobs.importing"


@cache
def kind_of(name: str) -> Kind:
    """The kind by its name; each module has its own in KINDS. Raises UnknownName."""
    module = "radproof.jobs.assessing" if name == _OWN else _OTHERS
    found: Mapping[str, Kind] = import_module(module).KINDS
    if name not in found:
        raise UnknownName(f"no kind of job is called {name!r}")
    return found[name]
