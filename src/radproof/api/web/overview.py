# SPDX-License-Identifier: Apache-2.0
"""The start page: models with their scores."""

from fastapi import APIRouter, Request, Response
from sqlalchemy import func, select

from radproof.api.http.render import page
from radproof.api.people.access import Viewer
from radproof.api.results.standing import standing, trend
from radproof.api.service import Here
from radproof.api.shelf.holdings import here as of_project
from radproof.api.shelf.holdings import rows, runs_of
from radproof.store.tables import UNFINISHED, DataSet, Model

router = APIRouter()
MOST = 24  # models; the others are listed under /models


@router.get("/")
def overview(request: Request, here: Here, who: Viewer) -> Response:
    """Models of the project, newest first, each with what its last finished run says."""
    with here.database.reading() as session:
        models = rows(session, of_project(Model, who).order_by(Model.created.desc()).limit(MOST + 1))
        runs = runs_of(session, models[:MOST])
        data = session.execute(select(func.count()).select_from(of_project(DataSet, who).subquery())).scalar_one()
    shown = []
    for model in models[:MOST]:
        own = runs[model.id]
        done = [standing(run) for run in own.of("done")]
        shown.append((model, done[0] if done else None, trend(done), own.of(*UNFINISHED), own.counts.get("done", 0)))
    steps = {"model": bool(models), "data": bool(data), "run": any(one.count for one in runs.values())}
    return page(request, "overview", title="Overview", shown=shown, more=len(models) > MOST, steps=steps)
