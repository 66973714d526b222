# SPDX-License-Identifier: Apache-2.0
"""The server starts, and strangers get nothing."""

from tests.api.conftest import House


def test_openapi_is_served(house: House) -> None:
    assert house.person().client.get("/api/v1/openapi.json").json()["openapi"].startswith("3.1")


def test_openapi_says_which_answers_carry_tags(house: House) -> None:
    paths = house.person().client.get("/api/v1/openapi.json").json()["paths"]
    answers = {path: item["get"]["responses"]["200"] for path, item in paths.items() if "get" in item}
    told = {path for path, answer in answers.items() if "ETag" in answer.get("headers", {})}
    assert told == {
        f"/api/v1/{one}"
        for one in (
            "account", "admin/people/{person}", "data/{id}", "models/{id}", "models/{id}/guards/{guard}", "plans/{id}",
            "readers/{id}", "runs/{id}",
        )
    }  # fmt: skip
