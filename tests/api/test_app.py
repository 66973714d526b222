# SPDX-License-Identifier: Apache-2.0
"""The server starts, and strangers get nothing."""

from tests.api.conftest import House


def test_openapi_is_served(house: House) -> None:
    assert house.person().client.get("/api/v1/openapi.json").json()["openapi"].startswith("3.1")
