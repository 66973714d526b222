# SPDX-License-Identifier: Apache-2.0
"""Screening of one image."""

from fastapi import APIRouter, Request

from radproof.api.http.forms import form_body
from radproof.api.http.problems import responses
from radproof.api.http.wanted import IMAGE
from radproof.api.people.access import Clinician
from radproof.api.readers.taking import check_unread
from radproof.api.screening.answering import ScreeningAnswer, screen
from radproof.api.service import Here

router = APIRouter(tags=["screening"])
_WORDS = {
    "image": "PNG, JPEG, TIFF or a DICOM file of one frame, on the grid that the detector was taught on.",
    "view": "Where thresholds are by view: the image's.",
}


@router.post(
    "/screening",
    operation_id="screen_image",
    responses=responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=form_body(IMAGE, _WORDS, needed=["model"]),
)
async def screen_image(request: Request, here: Here, who: Clinician) -> ScreeningAnswer:
    """Judge one image before a model's answer is used: what the model says, and whether to believe it.

    Nothing of the image is kept; 422 with the reason for a file that cannot be judged, 429 where too many wait, 403 in
    the middle of a reader test of the model's project.
    """
    return await screen(request, here, who, check_unread)
