# SPDX-License-Identifier: Apache-2.0
"""Forms with files, as OpenAPI tells them."""

from collections.abc import Mapping
from typing import Any

from radproof.api.http.uploads import Wanted


def form_body(wanted: Wanted, words: Mapping[str, str]) -> dict[str, Any]:
    """What a route's `openapi_extra` says of its form; `words` describe some of the parts."""
    files = {
        name: {"type": "string", "format": "binary", **({"description": words[name]} if name in words else {})}
        for name in wanted.files
    }
    fields = {
        name: {"type": "string", "maxLength": longest}
        for name, longest in wanted.fields.items()
        if name != "csrf_token"
    }
    schema = {
        "type": "object",
        "required": [wanted.need],
        "additionalProperties": False,
        "properties": {**fields, **files},
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
