# SPDX-License-Identifier: Apache-2.0
"""Plans, presets and what they would cost."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from radproof.api.front.idempotency import Single
from radproof.api.http.etags import conditional, unchanged
from radproof.api.http.paging import Cursor, Limit, Page, paged
from radproof.api.http.problems import responses
from radproof.api.people.access import Developer, Viewer, owned, visible
from radproof.api.plans.estimating import Cost, estimated
from radproof.api.plans.planning import checked
from radproof.api.plans.presets import PRESETS
from radproof.api.runs.running import make_plan, remove_plan
from radproof.api.service import Here
from radproof.store.tables import SavedPlan

router = APIRouter(tags=["plans"])
LONGEST = 120


class PlanOut(BaseModel):
    """A plan that is kept."""

    id: str
    project: str
    name: str
    document: dict[str, Any]
    digest: str = Field(description="sha256 of the document's canonical JSON")
    created: datetime
    created_by: str | None


class NewPlan(BaseModel, extra="forbid"):
    """A plan to keep: `model` and `data` in the document are {id: …} of this server."""

    document: dict[str, Any]
    name: str = Field("", max_length=LONGEST)
    project: str | None = Field(None, max_length=64)


class ToEstimate(BaseModel, extra="forbid"):
    """A plan that is not kept."""

    document: dict[str, Any]
    project: str | None = Field(None, max_length=64)


class PresetOut(BaseModel):
    """A fragment of a plan."""

    name: str
    title: str
    sentence: str
    images: int
    surrogates: bool = Field(description="whether attacks are also made on other networks")
    plan: dict[str, Any]


def told(plan: SavedPlan) -> PlanOut:
    """A row as it is told."""
    return PlanOut(
        id=plan.id,
        project=plan.project_id,
        name=plan.name,
        document=plan.document,
        digest=plan.digest,
        created=plan.created,
        created_by=plan.created_by,
    )


@router.get("/plans", responses=responses(404, 422))
def plans(
    here: Here, who: Viewer, project: str | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[PlanOut]:
    """Plans that are kept, newest first."""
    with here.database.reading() as session:
        items, after = paged(session, visible(SavedPlan, who, project), SavedPlan, cursor, limit)
        return Page(items=[told(one) for one in items], next=after)


@router.post("/plans", status_code=201, response_model=PlanOut, responses=responses(404, 409, 422))
def add(here: Here, who: Developer, asked: NewPlan, once: Single) -> Response:
    """Keep a plan after checking it."""
    found = checked(here, who, asked.document, asked.project)

    def work(session: Session) -> PlanOut:
        return told(make_plan(session, here, who, found, name=asked.name))

    return once.made(asked, work, "/api/v1/plans")


@router.get("/plans/presets")
def presets(request: Request, who: Viewer) -> list[PresetOut]:
    """What most people begin with."""
    return [
        PresetOut(
            name=one.name,
            title=one.title,
            sentence=one.sentence,
            images=one.images,
            surrogates=one.surrogates,
            plan=dict(one.plan),
        )
        for one in PRESETS.values()
    ]


@router.post("/plans/estimate", responses=responses(404, 422))
def estimate(here: Here, who: Developer, asked: ToEstimate) -> Cost:
    """What a plan would cost, before anything runs."""
    return estimated(here, who, asked.document, asked.project)


@router.get("/plans/{id}", response_model=PlanOut, responses=responses(404))
def one(request: Request, here: Here, who: Viewer, id: str) -> Response:
    """A plan that is kept."""
    with here.database.reading() as session:
        return conditional(request, told(owned(session, SavedPlan, id, who)))


@router.delete("/plans/{id}", status_code=204, responses=responses(404, 409, 412))
def remove(request: Request, here: Here, who: Developer, id: str) -> None:
    """Remove a plan that no run was made by."""
    with here.database.reading() as session:
        unchanged(request, told(owned(session, SavedPlan, id, who)))
    remove_plan(here, who, id)
