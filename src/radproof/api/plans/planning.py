# SPDX-License-Identifier: Apache-2.0
"""Plans as they come in: plain, of the caller's own things, and possible, before anything is kept or queued."""

import math
import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller, home_project, owned
from radproof.api.plans.bounded import check_bounds
from radproof.api.results.finished import scrubbed
from radproof.api.service import Service
from radproof.core.records import digest
from radproof.errors import BadInput
from radproof.jobs.planned import materialise
from radproof.store.tables import DataSet, Model

if TYPE_CHECKING:
    from collections.abc import Generator

    from radproof.assess.plan import Plan

DEEPEST, MOST_VALUES, LONGEST = 12, 4000, 2000  # levels; values; characters of one text
_FIELD = re.compile(r"[A-Za-z_][\w.\[\]-]{0,120}")


@dataclass(frozen=True)
class Checked:
    """A plan that can be run."""

    document: dict[str, Any]  # as it came: names of this database, no paths
    digest: str  # sha256 of its canonical JSON
    plan: "Plan"  # with paths; for estimates alone
    project_id: str
    model: Model
    data: DataSet | None  # None: drawn phantoms


def checked(service: Service, who: Caller, document: Mapping[str, Any], project: str | None = None) -> Checked:
    """A plan whose model and data are the caller's own and ready.

    Raises Problem 422 naming the key, what was given and what was expected; the same for another project's things as
    for none. Imports torch on first use: not for the path of a page that is read.
    """
    plain(document)
    told = dict(document)
    check_bounds(told)
    with service.database.reading() as session, _explained(service):
        model, data = _things(session, who, told)
        where = home_project(who, project or model.project_id)
        if where != model.project_id or (data is not None and data.project_id != where):
            raise Problem(422, "model.id: model, data and plan are of one project; copy them into it")
        placed = materialise(told, session, service.settings, project=where)
    with _explained(service):
        plan = _made(placed, service.settings.home)
    return Checked(told, digest(told), plan, where, model, data)


def plain(document: Mapping[str, Any]) -> None:
    """JSON that can be kept: not deep, not long, no NaN, no text that is no text. Raises Problem 422."""
    stack: list[tuple[Any, int]] = [(document, 1)]
    seen = 0
    while stack:
        value, depth = stack.pop()
        seen += 1
        if depth > DEEPEST or seen > MOST_VALUES:
            raise Problem(
                422, f"plan: nested over {DEEPEST} levels, or over {MOST_VALUES} values; no plan is like that"
            )
        if isinstance(value, Mapping):
            inner = cast("Mapping[Any, Any]", value)
            stack.extend((key, depth + 1) for key in inner)
            stack.extend((one, depth + 1) for one in inner.values())
        elif isinstance(value, list):
            stack.extend((one, depth + 1) for one in cast("list[Any]", value))
        elif isinstance(value, str):
            if len(value) > LONGEST or "\0" in value or not _encodable(value):
                raise Problem(422, f"plan: a text is over {LONGEST} characters long, or holds what is no text")
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise Problem(422, "plan: NaN and infinity are no numbers of JSON")
        elif isinstance(value, int) and abs(value) >= 2**63:
            raise Problem(422, "plan: a whole number is out of range")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _things(session: Session, who: Caller, told: Mapping[str, Any]) -> tuple[Model, DataSet | None]:
    def named(section: str) -> Any:
        found = told.get(section)
        return cast("dict[str, Any]", found).get("id") if isinstance(found, dict) else None

    model, data = named("model"), named("data")
    if not isinstance(model, str):
        raise Problem(422, "model: expected {id: mdl_…}, the name of a model on this server")
    try:
        found = owned(session, Model, model, who)
    except Problem as error:
        raise Problem(422, "model.id: no model of that name in your projects") from error
    if data is None:
        return found, None
    try:
        return found, owned(session, DataSet, data if isinstance(data, str) else "", who)
    except Problem as error:
        raise Problem(422, "data.id: no data set of that name in your projects") from error


def _made(placed: dict[str, Any], home: Path) -> "Plan":
    """The plan with every part checked."""
    from radproof.assess.plan import make_plan
    from radproof.assess.plan_checks import check_parts

    plan = make_plan(placed, base=home)
    check_parts(plan)
    return plan


@contextmanager
def _explained(service: Service) -> "Generator[None]":
    """Whatever is wrong is the request's fault, and told without a path."""
    try:
        yield
    except BadInput as error:
        text = scrubbed(str(error), service.settings.home.resolve())
        where = text.removeprefix("plan: ").split(": ", 1)
        field = where[0] if len(where) == 2 and _FIELD.fullmatch(where[0]) else "plan"
        raise Problem(422, text, errors=[{"at": field, "message": where[-1] if field != "plan" else text}]) from error
    except (RecursionError, OverflowError, TypeError, AttributeError) as error:
        raise Problem(
            422, "plan: a value is of the wrong kind; see /api/v1/plans/presets for plans that work"
        ) from error
