# SPDX-License-Identifier: Apache-2.0
"""Forms with files, as OpenAPI tells them."""

from collections.abc import Mapping, Sequence
from typing import Any

from radproof.api.http.wanted import Wanted


def form_body(wanted: Wanted, words: Mapping[str, str], needed: Sequence[str] = ()) -> dict[str, Any]:
    """What a route's `openapi_extra` says of its form; `words` describe parts, `needed` must be there too."""

    def described(name: str) -> dict[str, str]:
        return {"description": words[name]} if name in words else {}

    files = {name: {"type": "string", "format": "binary", **described(name)} for name in wanted.files}
    fields = {
        name: {"type": "string", "maxLength": longest, **described(name)}
        for name, longest in wanted.fields.items()
        if name != "csrf_token"
    }
    schema = {
        "type": "object",
        "required": [wanted.need, *needed],
        "additionalProperties": False,
        "properties": {**fields, **files},
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
