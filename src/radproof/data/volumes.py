# SPDX-License-Identifier: Apache-2.0
"""NIfTI volumes from strangers: the header is read and judged first, then as many bytes as it told of, and no more.

NIfTI-1.1 and NIfTI-2 in one file (.nii, .nii.gz), with whole numbers or floats of up to 64 bits.
"""

import gzip
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from radproof.errors import BadImage, BadInput

MAX_VOLUME = 1024**3  # bytes of one volume in memory
_HEADERS = {348: (348, b"n+1\0", 344), 540: (540, b"n+2\0", 4)}  # size, magic, where the magic lies
_MOST_BEFORE = 64 * 1024**2  # bytes between header and voxels
_PIECE = 1024**2
_COUNTED = 4_000_000  # voxels that percentiles are taken of


@dataclass(frozen=True)
class Grid:
    """What a header says: how voxels are stored, where they lie in the patient, and how they are meant to be shown."""

    shape: tuple[int, int, int]  # as stored
    dtype: np.dtype[Any]
    start: int  # byte of the first voxel
    slope: float
    intercept: float
    turn: NDArray[np.float64]  # (3, 2) axes and flips that lead to right, anterior, superior
    shown: tuple[float, float] | None  # the header's own window, low and high

    @property
    def upright(self) -> tuple[int, int, int]:
        """The shape along right, anterior, superior."""
        sides = {int(axis): side for (axis, _), side in zip(self.turn, self.shape, strict=True)}
        return sides[0], sides[1], sides[2]


class Volumes:
    """Reads volumes and keeps the last one, for its slices are asked for one after another; safe for threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: tuple[Path, NDArray[Any], tuple[float, float]] | None = None
        self._broken: tuple[Path, BadImage] | None = None  # the last one that could not be read

    def plane(
        self, path: Path, grid: Grid, axis: int, index: int, voi: str | tuple[float, float]
    ) -> NDArray[np.uint16]:
        """One slice across `axis` (0 right, 1 anterior, 2 superior), (H, W), black to white in 0..65535.

        As radiologists look at it: the patient's right is on the left, anterior or superior is up. NaN and infinity
        below the window are black, infinity above is white.
        """
        with self._lock:
            if self._kept is None or self._kept[0] != path:
                self._kept = None
                self._kept = self._read(path, grid, voi)
            _, voxels, (low, high) = self._kept
            stored = np.take(voxels, index, axis).astype(np.float64)
        with np.errstate(all="ignore"):  # of values beyond all numbers, which are black or white
            values = np.nan_to_num(stored * grid.slope + grid.intercept, nan=low, posinf=high, neginf=low)
            share = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
        return np.ascontiguousarray(np.rint(share[::-1, ::-1].T * 65535).astype(np.uint16))

    def _read(
        self, path: Path, grid: Grid, voi: str | tuple[float, float]
    ) -> tuple[Path, NDArray[Any], tuple[float, float]]:
        """One that could not be read is not read again for each of its slices."""
        if self._broken is not None and self._broken[0] == path:
            raise BadImage(str(self._broken[1]))
        try:
            voxels = _voxels(path, grid)
            return path, voxels, _window(voxels, grid, voi)
        except BadImage as error:
            self._broken = path, error
            raise


def read_grid(path: Path, *, max_volume: int = MAX_VOLUME) -> Grid:
    """The header of a file. Raises BadImage, which names no file, for one that tells nonsense or too much."""
    try:
        with _opened(path) as stream:
            return _grid(stream, max_volume)
    except BadInput:
        raise
    except Exception as error:  # headers of nonsense make readers raise nearly anything
        raise BadImage(f"the file is no readable NIfTI volume ({type(error).__name__}); convert it again") from None


def _grid(stream: IO[bytes], max_volume: int) -> Grid:
    nibabel = _nibabel()
    raw = stream.read(540)
    size = next((size for size in _HEADERS if raw[:4] in (size.to_bytes(4, "little"), size.to_bytes(4, "big"))), 0)
    if not size or len(raw) < size:
        raise BadImage("the file has no NIfTI header; convert it with dcm2niix or nibabel")
    length, magic, at = _HEADERS[size]
    if raw[at : at + 4] != magic:
        raise BadImage("the header is not of a single-file NIfTI volume (.nii); pairs of .hdr and .img are not read")
    kind = nibabel.Nifti1Header if size == 348 else nibabel.Nifti2Header
    header = kind.from_fileobj(io.BytesIO(raw[:length]), check=False)
    shape = _shape([int(side) for side in header["dim"]])
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise BadImage(f"voxels of kind {dtype} are not supported; save whole numbers or floats of up to 64 bits")
    start = float(header["vox_offset"])
    if not length <= start <= _MOST_BEFORE:
        raise BadImage(f"the header puts the voxels at byte {start:g}; convert the volume again")
    told = math.prod(shape) * dtype.itemsize
    if told > max_volume:
        raise BadImage(f"the header announces {told:,} bytes of voxels, more than the limit of {max_volume:,}")
    slope, intercept = _scaling(header)
    return Grid(shape, dtype, int(start), slope, intercept, _turn(nibabel, header), _shown(header))


def _shape(dim: list[int]) -> tuple[int, int, int]:
    count, sides = dim[0], dim[1:]
    if not 1 <= count <= 7 or min(sides[:count]) < 1:
        raise BadImage(f"the header tells of dimensions {dim}; each must be at least 1")
    if any(side > 1 for side in sides[3:count]):
        raise BadImage(f"the file holds a series or channels ({sides[:count]}); save the volume you mean on its own")
    width, height, depth = (*sides[: min(count, 3)], 1, 1)[:3]
    return width, height, depth


def _scaling(header: Any) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or none means the voxels as they are, as the standard says."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    return slope, intercept if math.isfinite(intercept) else 0.0


def _shown(header: Any) -> tuple[float, float] | None:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _turn(nibabel: Any, header: Any) -> NDArray[np.float64]:
    affine = header.get_best_affine()
    turn = nibabel.io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if not np.isfinite(turn).all():
        raise BadImage("the header does not say how the volume lies in the patient; set its sform or qform")
    return turn


def _voxels(path: Path, grid: Grid) -> NDArray[Any]:
    """Stored values along right, anterior, superior."""
    size = math.prod(grid.shape) * grid.dtype.itemsize
    try:
        with _opened(path) as stream:
            _skip(stream, grid.start)
            raw = _exactly(stream, size)
    except (OSError, EOFError, zlib.error) as error:
        raise BadImage(f"the file is truncated or damaged ({type(error).__name__}); copy it again") from None
    stored = np.frombuffer(raw, grid.dtype).reshape(grid.shape, order="F")
    return _nibabel().apply_orientation(stored, grid.turn)


def _window(voxels: NDArray[Any], grid: Grid, voi: str | tuple[float, float]) -> tuple[float, float]:
    """The values shown black and white, of the whole volume, so that its slices compare."""
    if not isinstance(voi, str):
        return voi[0] - voi[1] / 2, voi[0] + voi[1] / 2
    if voi == "file" and grid.shown:
        return grid.shown
    flat = voxels.ravel(order="K")
    few = flat if voi == "minmax" else flat[:: 1 + flat.size // _COUNTED]
    few = few[np.isfinite(few)] if few.dtype.kind == "f" else few
    if not few.size:
        raise BadImage("the volume holds no number at all, only NaN and infinity")
    ends = (few.min(), few.max()) if voi == "minmax" else np.percentile(few, (0.5, 99.5))
    low, high = sorted(float(end) * grid.slope + grid.intercept for end in ends)
    if not math.isfinite(high - low):
        raise BadImage("the header scales voxels beyond all numbers; convert the volume again")
    return low, high


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # pyright: ignore[reportReturnType]


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0:
        piece = stream.read(min(count, _PIECE))
        if not piece:
            raise EOFError
        count -= len(piece)


def _exactly(stream: IO[bytes], size: int) -> bytearray:
    """So many bytes, held only as they come: a header that promises more than the file has takes no memory."""
    raw = bytearray()
    while len(raw) < size:
        piece = stream.read(min(size - len(raw), _PIECE))
        if not piece:
            raise BadImage(f"the file ends after {len(raw):,} of {size:,} bytes of voxels; copy it again")
        raw += piece
    return raw


def _nibabel() -> Any:
    try:
        import nibabel  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise BadInput("NIfTI volumes need nibabel: pip install 'radproof[nifti]'") from None
    return nibabel
