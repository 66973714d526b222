# SPDX-License-Identifier: Apache-2.0
"""The images of a run."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from radproof.api.http.etags import PRIVATE, conditional, fresh
from radproof.api.http.paging import Cursor, Limit
from radproof.api.http.problems import responses
from radproof.api.people.access import Caller, Viewer, owned
from radproof.api.results.drawing import mark, shown
from radproof.api.results.exports import exported
from radproof.api.results.images import BudgetOutcome, Facet, Filters, ImageRow, Kind, Outcome, run_images
from radproof.api.service import Here, Service
from radproof.store.tables import Run

router = APIRouter(tags=["images"])
Told = Annotated[str | None, Query(max_length=200)]


class ImagePage(BaseModel):
    """Some of a run's images."""

    items: list[ImageRow]
    next: str | None
    total: int  # that the filters leave
    facets: dict[str, list[Facet]]  # the values of every filter
    budgets: list[BudgetOutcome]  # what became of the images at every budget


class ImageOut(BaseModel):
    """An image and its neighbours."""

    image: ImageRow
    before: str | None  # among the images that the filters leave
    after: str | None
    budgets: list[ImageRow]  # the same image and attack at every budget


def filters(
    attack: Told = None,
    budget: Told = None,
    goal: Told = None,
    defense: Told = None,
    made_on: Told = None,
    label: Told = None,
    outcome: Outcome | None = None,
    sample: Told = None,
) -> Filters:
    """From the query."""
    return Filters(attack, budget, goal, defense, made_on, label, outcome, sample)


Chosen = Annotated[Filters, Depends(filters)]


def _run(here: Service, name: str, who: Caller) -> Run:
    with here.database.reading() as session:
        return owned(session, Run, name, who)


@router.get("/runs/{id}/images", response_model=ImagePage, responses=responses(404, 422))
def images(
    request: Request, here: Here, who: Viewer, id: str, chosen: Chosen, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """Attacked images with what the model answered, in the order of the run's table."""
    found = run_images(here.settings, _run(here, id, who))
    items, after = found.page(chosen, cursor, limit)
    told = ImagePage(
        items=items,
        next=after,
        total=found.count(chosen),
        facets=found.facets(chosen),
        budgets=found.outcome_by_budget(chosen),
    )
    return conditional(request, told)


@router.get("/runs/{id}/images/{image}", response_model=ImageOut, responses=responses(404, 422))
def image(request: Request, here: Here, who: Viewer, id: str, image: str, chosen: Chosen) -> Response:
    """One image, the ones before and after it, and itself at every budget."""
    found = run_images(here.settings, _run(here, id, who))
    before, after = found.around(image, chosen)
    told = ImageOut(image=found.one(image), before=before, after=after, budgets=found.siblings(image))
    return conditional(request, told)


@router.get(
    "/runs/{id}/images/{image}/{kind}.png",
    response_class=Response,
    responses={
        200: {
            "description": "The picture as an 8-bit PNG; with `stored`, the file as it is kept.",
            "content": {"image/png": {}, "image/jpeg": {}, "image/tiff": {}},
            "headers": {
                "X-Amplified": {"description": "how much a difference is amplified", "schema": {"type": "number"}}
            },
        },
        **responses(404, 422, 429, 503),
    },
)
def drawn(request: Request, here: Here, who: Viewer, id: str, image: str, kind: Kind, stored: bool = False) -> Response:
    """A picture of an image. 16-bit and DICOM grids are shown with 8 bits; `stored` gives all grey levels.

    What the image's `drawn` names is drawn when it is asked for, which takes seconds: the model is opened for it.
    """
    run = _run(here, id, who)
    etag = f'"{mark(here, run, image, kind, stored)[:32]}"'
    headers = {"ETag": etag, "Cache-Control": PRIVATE, "X-Content-Type-Options": "nosniff"}
    if fresh(request, etag):
        return Response(None, 304, headers)
    found = shown(here, who, run, image, kind, stored=stored)
    if found.amplified is not None:
        headers["X-Amplified"] = f"{found.amplified:g}"
    if stored:
        exported(here, who, run, "image")
        suffix = found.media.removeprefix("image/").replace("application/octet-stream", "bin")
        headers["Content-Disposition"] = f'attachment; filename="{run.id}-{image}-{kind}.{suffix}"'
    return Response(found.content, 200, headers, found.media)
