# SPDX-License-Identifier: Apache-2.0
"""The page about the API tells of every resource, and of none that is not there."""

import re
from pathlib import Path

from tests.client.conftest import House

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def test_the_table_lists_every_resource_and_the_posts_that_take_a_key(house: House) -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `/")]
    listed = [path for row in rows for path in re.findall(r"`(/[^`]*)`", row)]
    paths = house.person("admin").client.get("/api/v1/openapi.json").json()["paths"]
    assert sorted(listed) == sorted(path.removeprefix("/api/v1") for path in paths)
    taking = {
        path.removeprefix("/api/v1")
        for path, item in paths.items()
        if any(one.get("name") == "Idempotency-Key" for one in item.get("post", {}).get("parameters", ()))
    }
    said = text[text.index("- **Idempotency.**") : text.index("takes `Idempotency-Key`")]
    assert set(re.findall(r"`(/[^`]*)`", said)) == taking
