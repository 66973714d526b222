# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run's images as 8-bit PNG files for a screen, and the stored files themselves.

A file is opened only where its path, followed to its end, lies in the run's or the data set's own folder, and decoded
only if it is, byte by byte, the one that the run was made with.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from radproof.api.http.problems import Problem
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.api.results.finished import Stamp, folder, stamp
from radproof.api.results.images import KINDS, RunImages, run_images
from radproof.core.tables import read_table
from radproof.data.images import StoredImage, decode_image
from radproof.errors import BadImage
from radproof.store.settings import Settings
from radproof.store.tables import Run

MANIFEST = "manifest.parquet"
MOST_BYTES = 64 * 2**20  # of one file
MOST_PIXELS = 16_000_000  # that the server decodes at once
_CELLS = 30_000_000
_SAMPLES: BoundedCache[Mapping[tuple[str, str], tuple[str, int, Path]]] = BoundedCache(
    8, 32 * MEBIBYTE, lambda found: 500 * len(found)
)
_MEDIA = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"II*\x00": "image/tiff", b"MM\x00*": "image/tiff"}


@dataclass(frozen=True)
class Shown:
    """What is sent."""

    content: bytes
    media: str = "image/png"
    amplified: float | None = None  # of a difference: how many times the change was multiplied


@dataclass(frozen=True)
class Original:
    """Where the unchanged image lies, and its grey levels."""

    path: Path
    sha256: str
    top: int  # 0: what the file's bits can hold


def picture(settings: Settings, run: Run, name: str, kind: str, *, stored: bool = False) -> Shown:
    """One picture of an image of a finished run, as the run keeps it. Raises Problem 404 saying why there is none.

    `stored`: the file itself, with all its grey levels; of the original and the attacked image alone.
    """
    images = run_images(settings, run)
    row = images.one(name)
    if kind not in KINDS:
        raise Problem(404, f"no such picture; there are {', '.join(KINDS)}")
    if stored and kind not in ("original", "attacked"):
        raise Problem(404, "only the original and the attacked image are stored")
    if kind not in row.kinds:
        raise Problem(404, f"no {kind} picture of this image: {images.drawable.why_not(kind, row.defense)}")
    if kind in ("defended", "cam_before", "cam_after"):
        return Shown(_of_gallery(settings, run, images, name, kind))
    if stored or kind == "attacked":
        content, top = source(settings, run, name, kind)
        return Shown(content, _media(content)) if stored else Shown(png(unit(content, top)))
    before = unit(*source(settings, run, name, "original"))
    if kind == "original":
        return Shown(png(before))
    factor = row.amplified or 1.0
    after = unit(*source(settings, run, name, "attacked"))
    if before.shape[:2] != after.shape[:2]:
        raise Problem(404, "the attacked image and its original differ in size; no difference can be drawn")
    return Shown(png((after - before) * factor + 0.5), amplified=factor)


def source(settings: Settings, run: Run, name: str, kind: str) -> tuple[bytes, int]:
    """The stored file of the original or the attacked image, and its top. Raises Problem 404."""
    images = run_images(settings, run)
    original = _original(settings, run, images, name)
    path, sha256 = (original.path, original.sha256)
    if kind == "attacked":
        path, sha256 = _attacked(settings, run, images, name)
    return _verified(path, sha256), original.top


def tag(settings: Settings, run: Run, name: str, kind: str, stored: bool) -> str:
    """What tells a picture that the run keeps from every other, without making it: its hash. Raises Problem 404."""
    images = run_images(settings, run)
    at = images.table.named(name)
    if at is None:
        raise Problem(404, "no image of that name in this run")
    told = [images.table.texts["sha256"].at(at), name, kind, stored]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _at(images: RunImages, name: str) -> int:
    at = images.table.named(name)
    assert at is not None
    return at


def _attacked(settings: Settings, run: Run, images: RunImages, name: str) -> tuple[Path, str]:
    at = _at(images, name)
    file, sha256 = images.table.texts["file"].at(at), images.table.texts["sha256"].at(at)
    return within(folder(settings, run), file), sha256


def _original(settings: Settings, run: Run, images: RunImages, name: str) -> Original:
    """From the run's own data, where it imported or drew some, else from the data set."""
    clean = int(images.table.clean[_at(images, name)])
    sample, sha256 = (images.table.texts[column].at(clean) for column in ("sample", "sha256"))
    ours = folder(settings, run)
    places = [(ours, file) for file in sorted((ours / "data").glob(f"*/{MANIFEST}"))]
    if run.data_id:
        given = settings.folder("data", run.data_id)
        places.append((given, given / MANIFEST))
    for base, file in places if clean >= 0 else ():
        found = stamp(file)
        told = _samples(found).get((sample, sha256)) if found else None
        if told:
            path, top, root = told
            with suppress(Problem):
                return Original(within(base, str(root / path)), sha256, top)
    raise Problem(404, "the original is no longer there: its data set was removed or changed")


def _samples(file: Stamp) -> Mapping[tuple[str, str], tuple[str, int, Path]]:
    """(sample, sha256) -> path, top, root of a manifest."""
    return _SAMPLES.get(file, lambda: _listed(file))


def _listed(file: Stamp) -> Mapping[tuple[str, str], tuple[str, int, Path]]:
    try:
        names = [name for name in ("id", "sha256", "path", "top") if name in pq.read_schema(file.path).names]
        table = read_table(file.path, names, cells=_CELLS)
        about: dict[str, Any] = json.loads((table.schema.metadata or {})[b"radproof.manifest"])
        columns = [table[name].to_pylist() for name in ("id", "sha256", "path")]
        tops = table["top"].to_pylist() if "top" in names else [0] * len(table)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return {}
    root = file.path.parent if about.get("root", ".") == "." else Path(str(about["root"]))
    return {
        (sample, sha256): (path, int(top or 0), root)
        for sample, sha256, path, top in zip(*columns, tops, strict=True)
        if path
    }


def within(base: Path, file: str) -> Path:
    """A plain file below `base`. Raises Problem 404 for any other path: one that leads out, a link, none."""
    base = base.resolve()
    plain = Path(normpath(base / file))
    try:
        good = "\0" not in file and plain.is_relative_to(base) and plain.resolve() == plain and plain.is_file()
    except (OSError, ValueError):
        good = False
    if not good:
        raise Problem(404, "the picture's file is not there, or outside the folder it should be in")
    return plain


def _verified(path: Path, sha256: str) -> bytes:
    """Its content, which must be what the run's table says."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Problem(404, "the picture's file is too large to be shown")
        content = path.read_bytes()
    except OSError as error:
        raise Problem(404, "the picture's file cannot be read") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Problem(404, "the picture's file is not the one that the run was made with; it was changed since")
    return content


def _of_gallery(settings: Settings, run: Run, images: RunImages, name: str, kind: str) -> bytes:
    """A picture that the run drew; colours stay."""
    shown = images.table.picture(_at(images, name))
    assert shown is not None
    path = within(folder(settings, run) / "gallery", str(shown["files"][kind]).removeprefix("gallery/"))
    if path.stat().st_size > MOST_BYTES:
        raise Problem(404, "the picture's file is too large to be shown")
    return png(unit(path.read_bytes(), 0))


def shape(content: bytes) -> tuple[int, int, int]:
    """Height, width and channels, once decoded: colour whose channels agree has one. Raises Problem 404."""
    height, width, channels = _decoded(content).pixels.shape
    return height, width, channels


def unit(content: bytes, top: int) -> NDArray[np.float32]:
    """(H, W, C) in [0, 1]. Raises Problem 404 for what cannot be shown."""
    found = _decoded(content)
    return found.pixels.astype(np.float32) / np.float32(top or found.top)


def _decoded(content: bytes) -> StoredImage:
    try:
        return decode_image(content, max_pixels=MOST_PIXELS)
    except BadImage as error:
        raise Problem(404, "the picture's file cannot be shown: it is damaged or too large") from error


def png(values: NDArray[np.float32]) -> bytes:
    """(H, W, C) in [0, 1] with 8 bits."""
    grid = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(grid[:, :, 0] if grid.shape[2] == 1 else grid))
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def _media(content: bytes) -> str:
    return next((media for magic, media in _MEDIA.items() if content.startswith(magic)), "application/octet-stream")
