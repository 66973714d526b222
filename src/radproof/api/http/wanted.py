# SPDX-License-Identifier: Apache-2.0
"""Forms with files: what each may hold, and which routes take it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from radproof.api.http.contents import Check, data_suffix, model_suffix, text_suffix
from radproof.store.settings import MEGABYTE

TEXT = 64 * MEGABYTE  # bytes of a table of labels
CARD = MEGABYTE  # of a card


@dataclass(frozen=True)
class Wanted:
    """What a form may hold: files by their name, each with how it must begin and how large it may be; short texts."""

    files: Mapping[str, tuple[Check, int | None]]  # None: as large as the place for it lets it be
    fields: Mapping[str, int]  # most characters of each
    need: str = "file"  # the file that must be there; "": none


COMMON = {"csrf_token": 200, "project": 40, "name": 120}
MODEL = Wanted({"file": (model_suffix, None), "card": (text_suffix, CARD)}, {**COMMON, "architecture": 100})
DATA = Wanted(
    {"file": (data_suffix, None), "labels": (text_suffix, TEXT)},
    {**COMMON, "classes": 4000, "multi_label": 5, "label_tag": 60, "strict": 5},
)
MODEL_AGAIN = Wanted({"card": MODEL.files["card"]}, {"csrf_token": 200, "architecture": 100}, need="")
DATA_AGAIN = Wanted(
    {"labels": DATA.files["labels"]},
    {"csrf_token": 200, "classes": 4000, "multi_label": 5, "label_tag": 60, "strict": 5},
    need="",
)
IMAGE = Wanted({"image": (lambda head: "", None)}, {"csrf_token": 200, "model": 40, "view": 40}, need="image")

ROUTES: Mapping[str, Wanted] = {
    "/api/v1/models": MODEL,
    "/models/new": MODEL,
    "/models/{id}/retry": MODEL_AGAIN,
    "/api/v1/data": DATA,
    "/data/new": DATA,
    "/data/{id}/retry": DATA_AGAIN,
    "/api/v1/screening": IMAGE,
    "/screen": IMAGE,
}
SCREENING = frozenset(route for route, wanted in ROUTES.items() if wanted is IMAGE)
_UPLOADS = re.compile("|".join(route.replace("{id}", "[^/]+") for route in ROUTES))


def takes_files(path: str) -> bool:
    """Whether a form that is sent to this path may hold files."""
    return _UPLOADS.fullmatch(path) is not None
