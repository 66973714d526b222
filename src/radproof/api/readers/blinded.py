# SPDX-License-Identifier: Apache-2.0
"""The two images of a trial, sent so that nothing but what they show tells them apart.

Both are drawn for every request, in the same mode and without compression: two images of one size are files of one
length, made in the same time, with the same headers and no name, date or tag. Catch trials are sent like the others.
"""

import io

import numpy as np
from fastapi.responses import Response
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller, owned
from radproof.api.readers.asking import Side, arranged, is_catch
from radproof.api.readers.taking import begin, standing
from radproof.api.results.pictures import picture
from radproof.api.service import Service
from radproof.store.tables import ReaderTest, Run

Pixels = NDArray[np.uint8]


def side(service: Service, who: Caller, name: str, number: int, which: Side) -> bytes:
    """One image of a trial as PNG; the first one begins the test.

    Raises Problem 404 for a trial that is not there or not reached yet, 409 for a test that cannot be begun.
    """
    with service.database.reading() as session:
        test = owned(session, ReaderTest, name, who)
        now = standing(session, test, who.user_id)
        if 1 <= number <= min(now.trials, now.next) and now.begun and not now.given_up:
            return _side(service, session, who, test, number, which)
    if not 1 <= number <= min(now.trials, now.next):
        raise Problem(404, "no such trial, or it is not reached yet")
    with service.database.writing() as session:
        begin(service, session, who, owned(session, ReaderTest, name, who))
    with service.database.reading() as session:
        return _side(service, session, who, owned(session, ReaderTest, name, who), number, which)


def _side(service: Service, session: Session, who: Caller, test: ReaderTest, number: int, which: Side) -> bytes:
    place, altered = arranged(test, who.user_id)[number - 1]
    run = session.get(Run, test.run_id)
    if run is None:
        raise Problem(404, "the run of this test is no longer there")
    name = str(test.trials[place]["image"])
    found = [picture(service.settings, run, name, kind).content for kind in ("original", "attacked")]
    first, second = pair(found[0], found[1], catch=(test.seed, place) if is_catch(test, place) else None)
    return second if which == altered else first


def response(content: bytes) -> Response:
    """An image that nobody keeps."""
    return Response(content, media_type="image/png", headers={"Cache-Control": "no-store"})


def pair(original: bytes, attacked: bytes, catch: tuple[int, int] | None = None) -> tuple[bytes, bytes]:
    """Two PNG files of the same mode, size and length; for a `catch`, the seed of its square, the original and that.

    Raises Problem 404 for images of different sizes.
    """
    images = [_pixels(one) for one in (original, attacked)]
    if images[0].shape[:2] != images[1].shape[:2]:
        raise Problem(404, "the two images of this trial differ in size, which would tell them apart")
    if images[0].ndim != images[1].ndim:
        images = [one if one.ndim == 3 else np.repeat(one[..., None], 3, axis=2) for one in images]
    if catch is not None:
        images[1] = chequered(images[0], catch)
    return _png(images[0]), _png(images[1])


def chequered(pixels: Pixels, seed: tuple[int, int]) -> Pixels:
    """(H, W) or (H, W, 3) with a chequered square, black and white, a quarter as wide as the shorter side."""
    height, width = pixels.shape[:2]
    side = max(2, min(height, width) // 4)
    cell = max(1, side // 4)
    rng = np.random.Generator(np.random.PCG64(list(seed)))
    top, left = (int(rng.integers(0, max(1, size - side + 1))) for size in (height, width))
    rows, columns = np.indices((side, side)) // cell
    board = ((rows + columns) % 2 * 255).astype(np.uint8)
    made = pixels.copy()
    part = made[top : top + side, left : left + side]
    board = board[: part.shape[0], : part.shape[1]]
    part[:] = board if pixels.ndim == 2 else board[..., None]
    return made


def _pixels(content: bytes) -> Pixels:
    """(H, W), or (H, W, 3) where there is colour."""
    with Image.open(io.BytesIO(content)) as opened:
        found = np.asarray(opened.convert("RGB"))
    grey = bool((found == found[..., :1]).all())
    return found[..., 0].copy() if grey else found


def _png(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
    return stream.getvalue()
