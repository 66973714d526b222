# SPDX-License-Identifier: Apache-2.0
"""The server's container has memory for all models that it keeps open, and for itself."""

from pathlib import Path
from typing import Any

import yaml

from radproof.api.screening.held import SHARE
from radproof.store.settings import Settings

COMPOSE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "compose.yaml").read_text("utf-8"))
NETWORK, SERVER = 1.25, 1.0  # gigabytes of a small network in a process of its own, and of the server itself


def test_every_model_that_is_kept_open_fits_beside_the_server() -> None:
    size = COMPOSE["services"]["server"]["mem_limit"]
    assert size.endswith("g")
    open_at_once = Settings.model_fields["screening_models"].get_default() + 1  # and the one that draws
    assert float(size[:-1]) * SHARE / open_at_once >= NETWORK
    assert float(size[:-1]) * (1 - SHARE) >= SERVER
