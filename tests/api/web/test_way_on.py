# SPDX-License-Identifier: Apache-2.0
"""An image that was not screened: whose fault it is, and what helps."""

import pytest

from radproof.api.screening.answering import NO_GUARD
from radproof.api.web.screening import way_on


@pytest.mark.parametrize(
    ("status", "oops", "own", "helps"),
    [
        (415, "not an image", True, "nobody has checked"),
        (422, "its size is not the model's", True, "nobody has checked"),
        (422, NO_GUARD, False, "a model that has a detector"),
        (422, "the form has no model; expected the name of one", False, "Choose the image again"),
        (403, "your role may not", False, "Trying again does not help"),
        (404, "no model of that name", False, "Choose another model"),
        (409, "the model is not ready", False, "come back when this one is ready"),
        (429, "too many wait", False, "Try it again"),
        (503, "busy", False, "Try it again"),
    ],
)
def test_each_refusal_has_its_own_way_on(status: int, oops: str, own: bool, helps: str) -> None:
    found = way_on(status, oops)
    assert found[0] is own and helps in found[1]
    assert ("Try it again" in found[1]) == (status in (429, 503))
