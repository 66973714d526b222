# SPDX-License-Identifier: Apache-2.0
"""Files that belong to the pages. Their addresses hold their hash, so that browsers may keep them for ever."""

from fastapi import APIRouter
from fastapi.responses import Response

from radproof.api.http.problems import Problem
from radproof.api.http.render import static_bytes, static_url

router = APIRouter()
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
NAMES = frozenset({
    "app.css", "app.js", "mark.svg", "vendor/htmx.min.js", "screen.css", "screen.js", "reader.js", "viewer.css",
    "viewer.js", "result.js",
})  # fmt: skip
FOR_EVER = "public, max-age=31536000, immutable"


@router.get("/static/{digest}/{name:path}")
def static_file(digest: str, name: str) -> Response:
    """One of the listed files. Raises Problem 404 for any other name, and for the hash of another version."""
    if name not in NAMES:
        raise Problem(404, "no such file")
    try:
        current = static_url(name)
    except FileNotFoundError:
        raise Problem(404, "no such file") from None
    if current != f"/static/{digest}/{name}":
        raise Problem(404, "no such file; it changed with the server's version, so load the page again")
    media = TYPES[name[name.rindex(".") :]]
    return Response(static_bytes(name), media_type=media, headers={"Cache-Control": FOR_EVER})
