# SPDX-License-Identifier: Apache-2.0
"""Image files are hostile until proven otherwise: everything enters here, checked by its header before it is decoded.

Pixels keep their stored grid, because budgets live on it. A colour file whose channels agree is a
radiograph saved carelessly and becomes one channel: no medical threat differs between R, G and B.
Messages name no file; callers add the sample's id.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from radproof.core.depth import EIGHT, SIXTEEN, Depth
from radproof.data.pool import room_for
from radproof.errors import BadImage, BadInput

Stored = NDArray[np.uint8 | np.uint16]
FORMATS = ("PNG", "JPEG", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAX_PIXELS = 64_000_000
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow's modes for grey of more than 8 bits
_FLAT = ("1", "L", "RGB")
_BLENDED = ("LA", "La", "PA", "RGBA", "RGBa")
_CONVERTED = ("P", "CMYK", "YCbCr")


@dataclass(frozen=True)
class StoredImage:
    """Pixels exactly as the file holds them: (H, W, C), C is 1 or 3."""

    pixels: Stored
    depth: Depth

    @property
    def top(self) -> int:
        """The grey level shown as white."""
        return self.depth.top


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> StoredImage:
    """Decode one PNG, JPEG or TIFF file, told by its content, never by its name; upright as its EXIF tag says.

    Transparency is composited on black. Raises BadImage for all that is not one readable image within the limits.
    """
    if not path.is_file():
        raise BadImage("there is no such file; check the path")
    if path.stat().st_size == 0:
        raise BadImage("the file is empty (0 bytes); copy or download it again")
    return _decoded(path, max_pixels)


def decode_image(content: bytes, *, max_pixels: int = MAX_PIXELS) -> StoredImage:
    """The same for a file's content that is in memory already."""
    if not content:
        raise BadImage("the file is empty (0 bytes); copy or download it again")
    return _decoded(BytesIO(content), max_pixels)


def to_unit(stored: StoredImage) -> NDArray[np.float32]:
    """(C, H, W) in [0, 1]: value / top, the same floats as `storage.to_unit_tensor` gives."""
    planes = np.ascontiguousarray(stored.pixels.transpose(2, 0, 1), dtype=np.float32)
    return planes / np.float32(stored.top)


def window(stored: StoredImage, low: float, high: float) -> StoredImage:
    """Spread the grey levels low..high over the whole depth and clip the rest, as a viewing station does.

    Nothing is held any more: the pixels are no longer the file's. Raises BadInput unless 0 <= low < high <= top.
    """
    if not 0 <= low < high <= stored.top:
        raise BadInput(
            f"a window of grey levels must satisfy 0 <= low < high <= {stored.top}; got {low:g} and {high:g}"
        )
    spread = (stored.pixels.astype(np.float64) - low) / (high - low)
    return _quantised(spread * stored.top, stored.top)


def resize(stored: StoredImage, longer_side: int) -> StoredImage:
    """Antialiased Lanczos resampling to a longer side of so many pixels; proportions and top stay, nothing is held."""
    if longer_side < 1:
        raise BadInput(f"the longer side must be at least 1 pixel; got {longer_side}")
    height, width, _ = stored.pixels.shape
    scale = longer_side / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))  # Pillow's order
    if shape == (width, height):
        return stored
    # In float, for Pillow's own path rounds between its two passes and has none for 16 bits.
    planes = [
        np.asarray(Image.fromarray(plane).resize(shape, Image.Resampling.LANCZOS))
        for plane in stored.pixels.transpose(2, 0, 1).astype(np.float32)
    ]
    return _quantised(np.stack(planes, 2), stored.top)


def _decoded(file: Path | BytesIO, max_pixels: int) -> StoredImage:
    try:
        with Image.open(file, formats=FORMATS) as opened:
            _check_header(opened, max_pixels)
            with room_for(opened.width * opened.height):
                opened.load()
                ImageOps.exif_transpose(opened, in_place=True)
                return _stored(opened)
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(
            f"the content is none of {', '.join(FORMATS)}, whatever the file's name says; convert it to PNG"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(_bomb(f"more than {max_pixels:,}", max_pixels)) from None
    except Exception as error:
        # A damaged file makes decoders raise nearly anything (SyntaxError, struct.error, KeyError, ...).
        reason = str(error) or type(error).__name__
        raise BadImage(f"the file is truncated or damaged ({reason}); copy or download it again") from None


def _check_header(opened: Image.Image, max_pixels: int) -> None:
    width, height = opened.size
    if width * height > max_pixels:
        raise BadImage(_bomb(f"{width}x{height}", max_pixels))
    if getattr(opened, "is_animated", False):  # to count them takes a TIFF's reader quadratic time
        raise BadImage("the file holds several frames or pages; save the one you mean as a PNG of its own")
    mode, raw = opened.mode, _raw_mode(opened)
    if mode not in (*_DEEP, *_FLAT, *_BLENDED, *_CONVERTED):
        raise BadImage(f"pixels of kind {mode} are not supported; save it as 8- or 16-bit grey or 8-bit RGB")
    if mode not in _DEEP and "16" in raw:
        # Pillow would drop the low byte without a word.
        raise BadImage("16 bits per channel is supported for grey without transparency only; save 8-bit RGB instead")
    if mode in _DEEP and ("12" in raw or _white_is_zero(opened)):
        raise BadImage("12-bit or white-is-zero TIFF would be read wrongly; save it as a 16-bit grey PNG")


def _bomb(size: str, max_pixels: int) -> str:
    return (
        f"the header announces {size} pixels, more than the limit of {max_pixels:,} (a decompression bomb?); "
        "make the image smaller"
    )


def _raw_mode(opened: Image.Image) -> str:
    """How the file lays its samples out, which Pillow's mode does not tell ("RGB" for "RGB;16B")."""
    tiles = getattr(opened, "tile", [])
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _white_is_zero(opened: Image.Image) -> bool:
    interpretation = 262
    return opened.format == "TIFF" and opened.getexif().get(interpretation) == 0


def _stored(image: Image.Image) -> StoredImage:
    """The upright, decoded image as (H, W, C)."""
    if image.mode in _DEEP:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise BadImage("grey levels outside 0..65535 are not supported; save it as a 16-bit grey PNG")
        return StoredImage(values.astype(np.uint16)[:, :, None], SIXTEEN)
    if image.mode in _BLENDED or "transparency" in image.info:
        image = _on_black(image)
    elif image.mode in _CONVERTED:
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    pixels = np.array(image, dtype=np.uint8)
    return StoredImage(_one_channel(pixels.reshape(*pixels.shape[:2], -1)), EIGHT)


def _on_black(image: Image.Image) -> Image.Image:
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB")


def _one_channel(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    same = pixels.shape[2] == 3 and bool((pixels == pixels[:, :, :1]).all())
    return pixels[:, :, :1] if same else pixels


def _quantised(values: NDArray[np.floating], top: int) -> StoredImage:
    depth = Depth(top)
    whole = np.clip(np.rint(values), 0, top)
    return StoredImage(whole.astype(np.uint8 if depth.bits == 8 else np.uint16), depth)
