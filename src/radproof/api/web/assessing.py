# SPDX-License-Identifier: Apache-2.0
"""A new assessment: the form, what it would cost, its plan as YAML, and the start. All of it without scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

import yaml
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import FormData

from radproof.api.http.problems import Problem
from radproof.api.http.render import fragment, page
from radproof.api.people.access import Caller, Developer, home_project, owned
from radproof.api.plans import forming, networks, promises
from radproof.api.plans.estimating import Cost, estimated
from radproof.api.plans.forming import GOALS, GROUPS, Filled
from radproof.api.plans.presets import PRESETS, composed, preset
from radproof.api.runs import running
from radproof.api.service import Here, Service
from radproof.api.shelf.holdings import here, rows
from radproof.errors import RadproofError
from radproof.store.tables import DataSet, Model, SavedPlan

router = APIRouter()
FIRST = "quick-look"
PHANTOMS = "Phantoms: drawn chest X-rays"


@dataclass(frozen=True)
class Shelf:
    """What may be chosen: of the project that is shown, and ready."""

    models: list[Model]
    data: list[DataSet]

    def model(self, name: str) -> Model | None:
        """By its id."""
        return next((one for one in self.models if one.id == name), None)

    def images(self, name: str) -> DataSet | None:
        """By its id."""
        return next((one for one in self.data if one.id == name), None)


async def form_of(request: Request) -> FormData:
    """The fields as a browser sent them."""
    return await request.form(max_files=0, max_fields=1000)


Sent = Annotated[FormData, Depends(form_of)]


@router.get("/assess")
def assess(
    request: Request, here: Here, who: Developer, model: str = "", data: str = "", preset: str = "", plan: str = ""
) -> Response:
    """The form, filled in by a preset or by a plan that was sent before."""
    shelf = _shelf(here, who)
    if plan:
        with here.database.reading() as session:
            found = owned(session, SavedPlan, plan, who).document
        return _page(request, shelf, Filled(_again(found)), before=plan, unsaid=forming.unsaid(found))
    chosen = preset if preset in PRESETS else FIRST
    first = shelf.model(model) or (shelf.models[0] if shelf.models else None)
    images = shelf.images(data)
    told = composed(
        chosen,
        model=first.id if first else "",
        data=images.id if images else None,
        labels=_labels(images),
        only_answers=_only_answers(first),
    )
    fields = forming.filled(told) | {"preset": [chosen], "priority": [str(running.PRIORITY)]}
    fields |= {"model": [first.id if first else ""], "data": [images.id if images else ""]}
    return _page(request, shelf, Filled(fields))


@router.post("/assess")
def send(request: Request, here: Here, who: Developer, sent: Sent) -> Response:
    """`do` says what: fill in the preset, estimate, or start. A form that cannot be used comes back as it was."""
    shelf, form = _shelf(here, who), Filled(forming.received(_pairs(sent)))
    do = str(sent.get("do", "start"))
    if do == "preset":
        asked = {key: form.one(key) for key in ("model", "data", "preset") if form.one(key)}
        return RedirectResponse(f"/assess?{urlencode(asked)}", 303)
    if do == "gate":
        form.told["gate_rows"] = [str(len(promises.rows(form.told)) + promises.BLANK)]
        return _page(request, shelf, form, added=True)
    document = _document(form, shelf)
    if do == "estimate":
        return _page(request, shelf, form, cost=_cost(here, who, form, document), document=document)
    priority = forming.priority_of(form)
    if document is not None and not form.errors:
        try:
            run = running.start_run(here, who, document=document, priority=priority, project=home_project(who))
        except (Problem, RadproofError) as error:
            _blame(form, error)
        else:
            return RedirectResponse(f"/runs/{run.id}?said=started", 303)
    return _page(request, shelf, form, document=document, status=422)


@router.post("/assess/estimate")
def estimate(here: Here, who: Developer, sent: Sent) -> HTMLResponse:
    """The cost alone, for scripts."""
    shelf, form = _shelf(here, who), Filled(forming.received(_pairs(sent)))
    document = _document(form, shelf)
    cost = _cost(here, who, form, document)
    return fragment("assess/cost", cost=cost, errors=list(form.errors.values()), yaml=_yaml(document))


def _again(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """A kept plan as fields; what the form does not have comes from the preset of the plan's name."""
    told: dict[str, Any] = {"data": {}, "model": {}, **document}
    name = str(told.get("name"))
    ids = {key: [str(told[key].get("id") or "")] for key in ("model", "data")}
    return (
        forming.filled(told)
        | ids
        | {"preset": [name if name in PRESETS else FIRST]}
        | {"priority": [str(running.PRIORITY)]}
    )


def _page(
    request: Request,
    shelf: Shelf,
    form: Filled,
    *,
    before: str = "",
    unsaid: Sequence[str] = (),
    added: bool = False,
    cost: Cost | None = None,
    document: dict[str, Any] | None = None,
    status: int = 200,
) -> HTMLResponse:
    return page(
        request,
        "assess/form",
        status=status,
        title="New assessment",
        form=form,
        before=before,
        unsaid=unsaid,
        added=added,
        others=[(one.id, one.name) for one in shelf.models if one.id != form.one("model")],
        small=networks.SMALL,
        recipes=networks.recipes().values(),
        figures=promises.offered(),
        ways=[("", "as it is bounded"), *promises.WAYS],
        gates=promises.rows(form.told),
        models=[(one.id, one.name) for one in shelf.models],
        data=[("", PHANTOMS), *((one.id, one.name) for one in shelf.data)],
        presets=[(one.name, one.title) for one in PRESETS.values()],
        chosen=PRESETS.get(form.one("preset"), PRESETS[FIRST]),
        groups=[(group, forming.offered(group.kind)) for group in GROUPS],
        parameters=forming.shown,
        doubled=_doubled,
        wrong_in=_wrong_in,
        goals=GOALS,
        cost=cost,
        yaml=_yaml(document),
    )


def _doubled(values: list[Any]) -> list[tuple[Any, Any]]:
    return [(one, one) for one in values]


def _wrong_in(errors: dict[str, str], start: str) -> bool:
    return any(at.startswith(start) for at in errors)


def _document(form: Filled, shelf: Shelf) -> dict[str, Any] | None:
    model, images = shelf.model(form.one("model")), shelf.images(form.one("data"))
    if model is None:
        form.errors["model"] = "choose a model that is ready"
    if form.one("data") and images is None:
        form.errors["data"] = "choose data that are ready, or phantoms"
    try:
        preset(form.one("preset"))
        ready = [one.id for one in shelf.models]
        return forming.document_of(form, labels=_labels(images), only_answers=_only_answers(model), models=ready)
    except (Problem, RadproofError) as error:
        _blame(form, error)
        return None


def _cost(service: Service, who: Caller, form: Filled, document: dict[str, Any] | None) -> Cost | None:
    if document is None or form.errors:
        return None
    try:
        return estimated(service, who, document, home_project(who))
    except (Problem, RadproofError) as error:
        _blame(form, error)
        return None


def _blame(form: Filled, error: Exception) -> None:
    """Beside the field that it is about."""
    forming.blame(form, str(error))


def _shelf(service: Service, who: Caller) -> Shelf:
    with service.database.reading() as session:
        models = here(Model, who).where(Model.state == "ready").order_by(Model.created.desc()).limit(200)
        data = here(DataSet, who).where(DataSet.state == "ready").order_by(DataSet.created.desc()).limit(200)
        return Shelf(rows(session, models), rows(session, data))


def _labels(images: DataSet | None) -> list[str]:
    found: Any = images.facts.get("labels") if images else None
    return [str(one) for one in found] if isinstance(found, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _only_answers(model: Model | None) -> bool:
    """Whether nothing climbs its gradient: it gives none, as the import found when it was timed."""
    told: Any = model.facts.get("seconds") if model else None
    return isinstance(told, dict) and "gradient" in told and told["gradient"] is None


def _pairs(sent: FormData) -> list[tuple[str, str]]:
    return [(name, value) for name, value in sent.multi_items() if isinstance(value, str)]


def _yaml(document: dict[str, Any] | None) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=88) if document else ""
