# SPDX-License-Identifier: Apache-2.0
"""The images of a result: a gallery with filters, and a viewer of one image, attacked and defended."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from radproof.api.http.problems import Problem
from radproof.api.http.render import page
from radproof.api.people.access import Caller, Viewer, owned
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.api.results.details import details
from radproof.api.results.drawable import DRAWN, answered
from radproof.api.results.drawing import classes
from radproof.api.results.drawing import shown as drawn_picture
from radproof.api.results.finished import ROWS, finished
from radproof.api.results.images import BudgetOutcome, Facet, Filters, ImageRow, RunImages, run_images
from radproof.api.results.showing import Showing, showing
from radproof.api.service import Here, Service
from radproof.reports.tables import OWN_LIMITS, goal_words
from radproof.store.tables import Run

router = APIRouter()
AT_ONCE = 24  # images of one page
OUTCOMES = {"fooled": "fooled", "held": "still right", "wrong_before": "wrong before any attack"}
KINDS = {
    "original": "Original",
    "attacked": "Attacked",
    "defended": "Defended",
    "difference": "Difference",
    "cam_before": "Grad-CAM before",
    "cam_after": "Grad-CAM attacked",
}
TITLES = {
    "outcome": "Outcome",
    "label": "Class",
    "attack": "Attack",
    "budget": "Budget",
    "goal": "Goal",
    "defense": "Defence",
    "made_on": "Made on",
}
Told = Annotated[str, Query(max_length=200)]


def filters(
    attack: Told = "",
    budget: Told = "",
    goal: Told = "",
    defense: Told = "",
    made_on: Told = "",
    label: Told = "",
    outcome: Told = "",
    sample: Told = "",
) -> Filters:
    """From a form, where an empty field means all."""
    told = (attack, budget, goal, defense, made_on, label, outcome, sample)
    return Filters(*(one or None for one in told))


Chosen = Annotated[Filters, Depends(filters)]


@dataclass(frozen=True)
class Found:
    """Some of a run's images, and how many others there are."""

    rows: list[ImageRow]
    after: str | None  # cursor of the next ones
    total: int
    facets: dict[str, list[Facet]]
    budgets: list[BudgetOutcome]


def _size(found: Found) -> int:
    return 2000 * (len(found.rows) + len(found.budgets)) + 500 * sum(map(len, found.facets.values()))


_FOUND: BoundedCache[Found] = BoundedCache(64, 8 * MEBIBYTE, _size)


@router.get("/runs/{run_id}/images")
def gallery(
    request: Request,
    here: Here,
    who: Viewer,
    run_id: str,
    chosen: Chosen,
    cursor: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Images of a run by what became of them. Without a query: those that fooled the bare model."""
    run, shown, images = _opened(here, who, run_id)
    if not request.query_params:
        chosen = Filters(defense="none", outcome="fooled")
    key = finished(here.settings, run, ROWS), chosen, cursor
    found = _FOUND.get(key, lambda: _find(images, chosen, cursor))
    told, own = _query(chosen), f"/runs/{run.id}/images"
    return page(
        request,
        "images",
        title=f"Images of {shown.result.title or shown.result.name}",
        run=run,
        result=shown.result,
        rows=found.rows,
        total=found.total,
        facets={name: found.facets[name] for name in TITLES if len(found.facets.get(name, ())) > 1},
        chosen=asdict(chosen),
        titles=TITLES,
        said=said,
        alt=alt,
        budgets=found.budgets,
        query=told,
        first=f"{own}?{told or 'outcome='}" if cursor else "",
        next=f"{own}?{_joined(told, cursor=found.after)}" if found.after else "",
    )


@router.get("/runs/{run_id}/images/{image}")
def viewer(
    request: Request,
    here: Here,
    who: Viewer,
    run_id: str,
    image: str,
    chosen: Chosen,
    draw: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """One image: original, attacked and defended over one another or side by side, with what is known of it.

    `draw`: a picture that is drawn first, for those without scripts.
    """
    run, shown, images = _opened(here, who, run_id)
    row = images.one(image)
    undrawn = _draw(here, who, run, row, draw)
    before, after = images.around(image, chosen)
    known = details(here.settings, run, shown, images, row)
    return page(
        request,
        "image",
        title=heading(row),
        run=run,
        result=shown.result,
        row=row,
        known=known,
        before=before,
        after=after,
        siblings=images.siblings(image),
        total=images.count(chosen),
        kinds=KINDS,
        shown_kinds=[*row.kinds, *([draw] if draw in row.drawn and not undrawn else [])],
        undrawn=undrawn,
        explained=explained(images, row),
        defended=defended(images, row),
        missing=missing(images, row),
        said=said,
        alt=alt,
        query=_query(chosen),
        own_limits=OWN_LIMITS,
    )


def said(name: str, value: str) -> str:
    """A filter's value in words."""
    if name == "outcome":
        return OUTCOMES.get(value, value)
    if name == "goal":
        return goal_words(value) if value else "none (a corruption)"
    if name == "budget":
        return value or OWN_LIMITS
    if name == "made_on":
        return "the model itself" if value == "model" else value or "nothing"
    return "no defence" if (name, value) == ("defense", "none") else value


def alt(row: ImageRow, kind: str = "attacked") -> str:
    """What a picture shows, in words: truth and answers."""
    before = f"the model answered {row.clean_answer or 'nothing'} ({_percent(row.clean_confidence)})"
    if kind == "original":
        return f"Original image; truth {row.truth}; {before}"
    after = f"attacked with {row.attack} it answers {row.attacked_answer} ({_percent(row.attacked_confidence)})"
    return f"{KINDS[kind]} image; truth {row.truth}; unchanged {before}; {after}"


def heading(row: ImageRow) -> str:
    """What became of the image, in a few words."""
    truth = row.truth.replace("|", ", ") or "no finding"
    answer = row.attacked_answer.replace("|", ", ") or "no finding"
    if row.outcome == "held":
        return f"{truth}: still read so" if row.attacked_answer == row.truth else f"{truth}: the attack missed its goal"
    if row.outcome == "wrong_before":
        return f"{truth}: read wrongly before any attack"
    return f"{truth}, read as {answer}"


def explained(images: RunImages, row: ImageRow) -> tuple[str, str] | None:
    """What the heat maps before and after speak for; None where there are none."""
    if not {"cam_before", "cam_after"} & {*row.kinds, *row.drawn}:
        return None
    found, labels = classes(images, row), images.drawable.labels
    return answered(labels, found.before), answered(labels, found.after)


def defended(images: RunImages, row: ImageRow) -> str:
    """The defence whose picture is shown; "" where there is none."""
    if "defended" not in (*row.kinds, *row.drawn):
        return ""
    parts = images.drawable.parts(row.defense)[0]
    return row.defense if row.defense != "none" else str(parts[0]["name"]) if parts else ""


def missing(images: RunImages, row: ImageRow) -> list[str]:
    """Why pictures are not there, each reason once."""
    wanted = [kind for kind in DRAWN if kind not in row.kinds]
    reasons = [images.drawable.why_not(kind, row.defense) for kind in wanted]
    return [*dict.fromkeys(f"{reason[0].upper()}{reason[1:]}." for reason in reasons if reason)]


def _draw(here: Service, who: Caller, run: Run, row: ImageRow, kind: str) -> str:
    """Have a picture drawn; why that failed, or ""."""
    if kind not in row.drawn:
        return ""
    try:
        drawn_picture(here, who, run, row.id, kind)
    except Problem as problem:
        return problem.detail
    return ""


def _opened(here: Service, who: Caller, run_id: str) -> tuple[Run, Showing, RunImages]:
    with here.database.reading() as session:
        run = owned(session, Run, run_id, who)
    return run, showing(here.settings, run), run_images(here.settings, run)


def _find(images: RunImages, chosen: Filters, cursor: str) -> Found:
    rows, after = images.page(chosen, cursor or None, AT_ONCE)
    return Found(rows, after, images.count(chosen), images.facets(chosen), images.outcome_by_budget(chosen))


def _query(chosen: Filters) -> str:
    return urlencode({name: value for name, value in asdict(chosen).items() if value is not None})


def _joined(query: str, **more: Any) -> str:
    added = urlencode({name: value for name, value in more.items() if value is not None})
    return "&".join(part for part in (query, added) if part)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
