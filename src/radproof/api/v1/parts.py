# SPDX-License-Identifier: Apache-2.0
"""The catalogue: attacks, defences, detectors and corruptions with their parameters."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from radproof.api.http.etags import conditional
from radproof.api.http.problems import responses
from radproof.api.people.access import Viewer
from radproof.api.plans import catalogue
from radproof.api.plans.catalogue import Kind, Part

router = APIRouter(tags=["parts"])


class Catalogue(BaseModel):
    """Every part, by kind."""

    attack: list[Part]
    defense: list[Part]
    detector: list[Part]
    corruption: list[Part]


@router.get("/parts", response_model=Catalogue, responses=responses(401, 429))
def every_part(request: Request, who: Viewer) -> Response:
    """Everything that a plan may name."""
    found = {kind: list(of.values()) for kind, of in catalogue.parts().items()}
    return conditional(request, Catalogue.model_validate(found))


@router.get("/parts/{kind}/{name}", response_model=Part, responses=responses(401, 404, 422, 429))
def one_part(request: Request, who: Viewer, kind: Kind, name: str) -> Response:
    """One of them."""
    return conditional(request, catalogue.part(kind, name))
