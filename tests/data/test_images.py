"""Decoding: the stored grid comes through untouched, and every hostile file is a BadImage with a sentence."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from skimage.transform import resize as skimage_resize

from radproof.core.depth import EIGHT, SIXTEEN, Depth
from radproof.data.images import StoredImage, read_image, resize, to_unit, window
from radproof.data.storage import to_unit_tensor
from radproof.errors import BadImage, BadInput

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def png(width, height, depth, colour, raw=b"", extra=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


def read(tmp_path, image, name="x.png", **how):
    path = tmp_path / name
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **how)
    return read_image(path)


def grey(stored):
    assert stored.pixels.shape[2] == 1
    return stored.pixels[:, :, 0]


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_grey_of_8_and_16_bits_comes_through_unchanged(tmp_path, name):
    eight = read(tmp_path, Image.fromarray(RAMP), name)
    assert eight.depth == EIGHT
    assert (grey(eight) == RAMP).all()
    deep = RAMP.astype(np.uint16) * np.uint16(257) - (RAMP > 3)
    sixteen = read(tmp_path, Image.fromarray(deep), name)
    assert sixteen.depth == SIXTEEN
    assert sixteen.pixels.dtype == np.uint16
    assert (grey(sixteen) == deep).all()


def test_colour_stays_three_channels_only_where_channels_differ(tmp_path):
    colour = np.stack([RAMP, RAMP.T, 255 - RAMP], 2)
    assert (read(tmp_path, Image.fromarray(colour)).pixels == colour).all()
    assert (grey(read(tmp_path, Image.fromarray(np.stack([RAMP] * 3, 2)))) == RAMP).all()


def test_transparency_lies_on_black(tmp_path):
    opaque, clear = np.full_like(RAMP, 255), np.zeros_like(RAMP)
    assert (grey(read(tmp_path, Image.fromarray(np.stack([RAMP] * 3 + [opaque], 2)))) == RAMP).all()
    assert not read(tmp_path, Image.fromarray(np.stack([RAMP] * 3 + [clear], 2))).pixels.any()
    assert (grey(read(tmp_path, Image.fromarray(np.stack([RAMP, opaque], 2), "LA"))) == RAMP).all()


def test_palette_bilevel_and_cmyk(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    assert read(tmp_path, palette).pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert grey(read(tmp_path, Image.fromarray(RAMP > 99))).tolist() == ((RAMP > 99) * 255).tolist()
    cmyk = read(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "x.jpg", quality=95)
    assert np.abs(cmyk.pixels.astype(int) - [255, 0, 0]).max() <= 6


def test_a_grey_jpeg_is_upright_as_its_exif_says(tmp_path):
    wide = np.zeros((16, 32), np.uint8)
    wide[:, 16:] = 255
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise: what was left comes up
    turned = grey(read(tmp_path, Image.fromarray(wide), "x.jpg", exif=exif, quality=95))
    assert turned.shape == (32, 16)
    assert turned[:14].max() < 30 < 200 < turned[18:].min()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"not an image at all", "none of PNG, JPEG, TIFF"),
        (b"%PDF-1.7", "none of PNG, JPEG, TIFF"),
        (png(65535, 65535, 8, 0), "decompression bomb"),
        (png(9000, 9000, 8, 0), "decompression bomb"),
        (png(0, 5, 8, 0), "none of PNG|damaged"),
        (png(64, 64, 8, 0, bytes(65 * 64)).replace(b"IDAT", b"IDAX"), "damaged|none of PNG"),
        (png(2, 1, 16, 2, b"\0" + bytes(12)), "16 bits per channel"),
        (png(2, 1, 16, 4, b"\0" + bytes(8)), "16 bits per channel"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_hostile_content_is_refused_with_a_sentence(tmp_path, content, says):
    with pytest.raises(BadImage, match=says) as caught:
        read(tmp_path, content)
    assert caught.value.exit_code == 2
    assert str(tmp_path) not in str(caught.value)  # file names may hold names of people


def test_every_truncation_of_a_file_is_refused_or_whole(tmp_path):
    whole = {}
    for name in ("x.png", "x.jpg", "x.tif"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24), dtype=np.uint8)).save(tmp_path / name)
        whole[name] = (tmp_path / name).read_bytes(), read_image(tmp_path / name).pixels
    for name, (content, pixels) in whole.items():
        for length in range(0, len(content) - 12, 17):
            (tmp_path / name).write_bytes(content[:length])
            try:
                read = read_image(tmp_path / name).pixels
            except BadImage:
                continue
            assert (read == pixels).all(), (name, length)


def test_gif_animation_and_pages_are_refused(tmp_path):
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    with pytest.raises(BadImage, match="none of PNG"):
        read(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    for name in ("a.png", "p.tif"):
        with pytest.raises(BadImage, match="several frames or pages"):
            read(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])


def pages(count):
    """A TIFF of so many pages of one pixel, 102 bytes each."""
    tags = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (278, 1), (279, 1))
    body = b"".join(struct.pack("<HHLHH", tag, 3, 1, value, 0) for tag, value in tags)
    each = (struct.pack("<H", len(tags)) + body + struct.pack("<L", 16 + 102 * (k + 1)) for k in range(count))
    return b"II*\0" + struct.pack("<L", 16) + bytes(8) + b"".join(each)[:-4] + bytes(4)


def test_pages_without_number_are_not_counted(tmp_path, monkeypatch):
    """Outside, a file of 16 MB keeps its reader busy for many minutes: the time grows with the square of the pages."""
    path = tmp_path / "pages.tif"
    path.write_bytes(pages(160_000))
    code = "import sys; from PIL import Image; Image.open(sys.argv[1]).n_frames"
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", code, str(path)], timeout=4, check=False)
    seen = []
    load = TiffImagePlugin.ImageFileDirectory_v2.load
    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", lambda *a: (seen.append(1), load(*a))[1])
    with pytest.raises(BadImage, match="several frames or pages"):
        read_image(path)
    assert len(seen) < 5
    path.write_bytes(pages(1))
    assert read_image(path).pixels.shape == (1, 1, 1)


def test_the_content_counts_and_not_the_extension(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert (grey(read_image(tmp_path / "x.jpg")) == RAMP).all()


def test_pixels_without_a_grid_are_refused(tmp_path):
    with pytest.raises(BadImage, match="kind F"):
        read(tmp_path, Image.fromarray(np.full((4, 4), np.nan, np.float32)), "x.tif")
    with pytest.raises(BadImage, match=r"outside 0\.\.65535"):
        read(tmp_path, Image.fromarray(np.full((4, 4), -5, np.int32)), "x.tif")
    with pytest.raises(BadImage, match="white-is-zero"):
        read(tmp_path, Image.fromarray(RAMP.astype(np.uint16)), "x.tif", tiffinfo={262: 0})


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "nothing.png", tmp_path):
        with pytest.raises(BadImage, match="no such file"):
            read_image(path)


def test_the_pixel_limit_is_an_argument(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", max_pixels=256).depth == EIGHT
    with pytest.raises(BadImage, match="16x16"):
        read_image(tmp_path / "x.png", max_pixels=255)


def test_unit_range_is_the_same_from_arrays_and_tensors():
    for depth, dtype in ((EIGHT, np.uint8), (SIXTEEN, np.uint16)):
        levels = np.arange(depth.top + 1, dtype=dtype).reshape(16, -1, 1)
        unit = to_unit(StoredImage(levels, depth))
        assert unit.shape == (1, *levels.shape[:2])
        assert (unit.min(), unit.max()) == (0, 1)
        tensor = to_unit_tensor(torch.from_numpy(levels.astype(np.int32)).permute(2, 0, 1), depth)
        assert torch.equal(torch.from_numpy(unit), tensor)


def test_window_by_hand():
    levels = np.array([[0, 100, 150, 200, 255]], np.uint8)[:, :, None]
    assert window(StoredImage(levels, EIGHT), 100, 200).pixels.ravel().tolist() == [0, 0, 128, 255, 255]
    for low, high in ((200, 100), (-1, 5), (0, 256)):
        with pytest.raises(BadInput, match="low < high"):
            window(StoredImage(levels, EIGHT), low, high)


@pytest.mark.parametrize(("depth", "dtype"), [(EIGHT, np.uint8), (SIXTEEN, np.uint16), (Depth(3000), np.uint16)])
def test_resize_antialiases_and_keeps_the_depth(depth, dtype):
    rng = np.random.default_rng(0)
    coarse = skimage_resize(rng.random((6, 9)), (60, 90), order=3)
    stored = StoredImage((coarse * depth.top).astype(dtype)[:, :, None], depth)
    small = resize(stored, 30)
    assert small.pixels.shape == (20, 30, 1)
    assert small.pixels.dtype == dtype
    reference = skimage_resize(coarse, (20, 30), order=1, anti_aliasing=True)
    assert np.corrcoef(reference.ravel(), small.pixels.ravel())[0, 1] > 0.99
    checker = StoredImage(((np.indices((64, 64)).sum(0) % 2) * depth.top).astype(dtype)[:, :, None], depth)
    middle = resize(checker, 16).pixels[4:12, 4:12] / depth.top
    assert np.abs(middle - 0.5).max() < 0.01  # without antialiasing: all black or all white


def test_resize_edge_cases():
    row = StoredImage(np.zeros((1, 50, 1), np.uint8), EIGHT)
    assert resize(row, 20).pixels.shape == (1, 20, 1)
    assert resize(row, 50) is row
    with pytest.raises(BadInput, match="at least 1"):
        resize(row, 0)


def test_changed_pixels_are_held_no_longer():
    stored = StoredImage(np.arange(0, 3001, 125, dtype=np.uint16).reshape(5, 5, 1), Depth(3000, held=True))
    assert stored.top == 3000
    assert window(stored, 300, 2700).depth == resize(stored, 3).depth == Depth(3000)
    assert window(stored, 300, 2700).pixels.ravel()[[0, 12, 24]].tolist() == [0, 1500, 3000]
    assert resize(stored, 5) is stored  # the size that it has
