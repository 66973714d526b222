# SPDX-License-Identifier: Apache-2.0
"""The API keeps to its OpenAPI document, whatever is sent: requests are drawn from it, also wrong ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from tests.api.conftest import House, Person
from tests.api.seeded import Seeds, finished_run
from tests.api.seeded import seed as seeded
from tests.api.test_crossing import FIXED, OF_PATH, crowd, names_of

from radproof.api.http import openapi

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.usefixtures("crowd")]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PATIENT = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
__all__ = ["crowd"]


@pytest.fixture
def seeds(house: House, tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return seeded(house, finished_run(tmp_path_factory.getbasetemp()))


def known(path: str, names: dict[str, str], image: str) -> dict[str, str]:
    """Names of things that there are, for the parameters of a path."""
    found: dict[str, str] = {}
    before = ""
    for segment in path.split("/"):
        if segment.startswith("{"):
            name = segment[1:].partition("}")[0]
            kind = OF_PATH.get(before, ("run",))[0]
            found[name] = image if name.startswith("image") else FIXED.get(name, names[kind])
        before = segment
    if path.endswith("report.{format}"):
        found["format"] = "csv"
    return found


def document_of(house: House) -> dict[str, Any]:
    client = house.person().client
    openapi.install(client.app)
    return client.get("/api/v1/openapi.json").json()


def faults(house: House, seeds: Seeds, role: str, examples: int, document: dict[str, Any] | None = None) -> list[str]:
    """One line for each operation and check that failed."""
    owner = house.person(role)
    document = document or document_of(house)
    schema = schemathesis.openapi.from_dict(document)
    image = owner.client.get(f"/api/v1/runs/{seeds.run}/images?limit=1").json()["items"][0]["id"]
    names = names_of(house, seeds, owner)
    found: dict[str, None] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in GenerationMode:
            person = house.person(role)
            real = known(operation.path, names, image)
            if mode is GenerationMode.NEGATIVE:  # a wrong word of a list stays wrong: only ids become real ones
                real = {name: one for name, one in real.items() if name not in FIXED}
            for line in _tried(operation, mode, person, real, examples):
                found[line] = None
    return list(found)


def _tried(operation: Any, mode: GenerationMode, person: Person, real: dict[str, str], examples: int) -> Iterator[str]:
    told: list[str] = []
    drawn = 0

    @seed(1)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=PATIENT
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case: Any) -> None:
        nonlocal drawn
        drawn += 1
        if drawn % 2 and operation.method.upper() != "DELETE":
            case.path_parameters = {**case.path_parameters, **real} if case.path_parameters else case.path_parameters
        told.extend(_fault(case, mode, person))

    try:
        attempt()
    except Exception as error:
        if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
            raise
    yield from dict.fromkeys(told)


def _fault(case: Any, mode: GenerationMode, person: Person) -> Iterator[str]:
    case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "accept"}
    how = case.as_transport_kwargs(base_url="http://localhost")
    how["headers"] = {str(name): str(value) for name, value in dict(how["headers"]).items()}
    names = ("method", "url", "headers", "params", "json", "data", "files")
    raw = requests.Request(**{name: how[name] for name in names if how.get(name) is not None}).prepare()
    content = raw.body.encode() if isinstance(raw.body, str) else raw.body
    sent = person.client.build_request(raw.method, raw.url, headers=dict(raw.headers), content=content)
    sent.read()
    try:
        answer = person.client.send(sent, follow_redirects=False)
    except Exception as error:  # what the server would log
        yield f"{case.method} {case.operation.path} 500 {type(error).__name__}: {str(error)[:300]}"
        return
    checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else CHECKS
    try:
        case.validate_response(Response.from_any(answer), checks=checks)
    except FailureGroup as group:
        for one in group.exceptions:
            message = " ".join(str(one).split())[:400]
            yield f"{case.method} {case.operation.path} {answer.status_code} {type(one).__name__}: {message}"


@pytest.mark.parametrize("role", ["developer"])
def test_every_answer_is_in_the_document(house: House, seeds: Seeds, role: str) -> None:
    assert faults(house, seeds, role, examples=2) == []


@pytest.mark.slow
@pytest.mark.parametrize("role", ["viewer", "clinician", "developer", "admin"])
def test_every_answer_is_in_the_document_at_length(house: House, seeds: Seeds, role: str) -> None:
    assert faults(house, seeds, role, examples=40) == []


def test_what_the_document_does_not_say_is_noticed(house: House, seeds: Seeds) -> None:
    document = document_of(house)
    paths = {path: {"get": document["paths"][path]["get"]} for path in ("/api/v1/runs", "/api/v1/plans/{id}")}
    del paths["/api/v1/plans/{id}"]["get"]["responses"]["404"]
    listed = paths["/api/v1/runs"]["get"]["responses"]["200"]["content"]["application/json"]
    listed["schema"] = {"type": "array"}
    found = faults(house, seeds, "developer", 6, {**document, "paths": paths})
    assert any("/api/v1/plans/{id} 404 UndefinedStatusCode" in line for line in found), found
    assert any("/api/v1/runs 200 JsonSchemaError" in line for line in found), found


def test_every_operation_declares_its_problems(house: House) -> None:
    document = document_of(house)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert {"401", "403", "404", "422", "429"} <= set(operation["responses"]), (method, path)
            content = operation["responses"]["422"]["content"]
            assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_no_word_of_this_machine_is_in_the_document(house: House, tmp_path: Path) -> None:
    client = house.person().client
    text = client.get("/api/v1/openapi.json").text
    assert str(tmp_path) not in text
    assert "/home/" not in text
