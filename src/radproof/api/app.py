# SPDX-License-Identifier: Apache-2.0
"""The application: routers, and what stands around every request."""

from importlib import import_module

from fastapi import Depends, FastAPI

from radproof import __version__
from radproof.api.front import around
from radproof.api.http import openapi, problems
from radproof.api.readers.closing import Closing
from radproof.api.service import Service

RESOURCES = (
    "account", "models", "data", "plans", "runs", "images", "screening", "readers", "parts", "admin", "status",
)  # fmt: skip
PAGES = (
    "signing", "account", "overview", "models", "data", "assessing", "runs", "result", "viewer", "compare", "screening",
    "readers", "admin", "static",
)  # fmt: skip


def create_app(service: Service) -> FastAPI:
    """The server as an ASGI application."""
    app = FastAPI(
        title="radproof",
        version=__version__,
        summary="The crash-test laboratory for medical-imaging CNNs",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # they fetch scripts from elsewhere
        redoc_url=None,
        separate_input_output_schemas=False,
        dependencies=[Depends(Closing())],
    )
    app.state.service = service
    problems.install(app)
    for name in RESOURCES:
        app.include_router(import_module(f"radproof.api.v1.{name}").router, prefix="/api/v1")
    for name in PAGES:
        app.include_router(import_module(f"radproof.api.web.{name}").router, include_in_schema=False)
    around.install(app, service)
    openapi.install(app)
    return app
