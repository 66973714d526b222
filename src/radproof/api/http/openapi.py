# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document, with every problem that any route may answer declared in one place."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from radproof.api.http.problems import MEDIA, TITLES, ProblemDetails

ANYWHERE = (400, 401, 403, 404, 405, 413, 414, 422, 429, 431, 500, 503, 507)
WITH_BODY = (409, 411, 412, 415)
METHODS = ("get", "put", "post", "delete", "patch")
HEADERS = {"X-Request-Id": {"description": "the request's number in the server's log", "schema": {"type": "string"}}}
TAG = {"description": "for If-None-Match here, for If-Match on PATCH and DELETE", "schema": {"type": "string"}}
_SCHEMA = "#/components/schemas/"
_FASTAPI = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI) -> None:
    """Serve it so."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = told(app)
        return app.openapi_schema

    app.openapi = document


def told(app: FastAPI) -> dict[str, Any]:
    """The document."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description="Errors are RFC 9457 problem details. Times are UTC. Lists go on at `next`.",
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas["ProblemDetails"] = ProblemDetails.model_json_schema(ref_template=_SCHEMA + "{model}")
    for name in _FASTAPI:
        schemas.pop(name, None)
    for path in found.get("paths", {}).values():
        if any("412" in operation.get("responses", {}) for operation in path.values()) and "get" in path:
            path["get"]["responses"]["200"].setdefault("headers", {})["ETag"] = TAG
        for method, operation in path.items():
            if method in METHODS:
                _declare(operation, method)
    found["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, made at /account."},
        "session": {"type": "apiKey", "in": "cookie", "name": "radproof_session"},
    }
    found["security"] = [{"key": []}, {"session": []}]
    return found


def _declare(operation: dict[str, Any], method: str) -> None:
    responses: dict[str, Any] = operation.setdefault("responses", {})
    for status in (*ANYWHERE, *(() if method == "get" else WITH_BODY)):
        known = responses.get(str(status), {})
        if MEDIA not in known.get("content", {}):
            title = TITLES.get(status, "Error")
            schema = {"$ref": f"{_SCHEMA}ProblemDetails"}
            responses[str(status)] = {
                "description": known.get("description") or title,
                "content": {MEDIA: {"schema": schema}},
            }
    if method == "get":
        responses.setdefault("304", {"description": "Not changed: as If-None-Match says, it is known."})
