"""Every transfer syntax gives the values that were put in, one frame at a time."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom.pixels import get_encoder
from pydicom.uid import UID

from radproof.data.dicom.read import read_dicom
from radproof.errors import BadImage, BadInput

RNG = np.random.default_rng(5)
TWELVE = RNG.integers(0, 4096, (41, 37)).astype(np.uint16)
SIGNED = RNG.integers(-2048, 2048, (41, 37)).astype(np.int16)
EIGHT = RNG.integers(0, 256, (41, 37)).astype(np.uint8)
SMOOTH = np.add.outer(np.arange(40) * 3, np.arange(32) * 4).astype(np.uint8)
BASE = "1.2.840.10008.1.2"


def encoded(pixels, uid, stored, **how):
    about = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples_per_pixel": 1 if pixels.ndim == 2 else 3,
        "number_of_frames": 1,
        "bits_allocated": pixels.dtype.itemsize * 8,
        "bits_stored": stored,
        "pixel_representation": int(pixels.dtype.kind == "i"),
        "photometric_interpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "planar_configuration": 0,
    }
    return get_encoder(UID(uid)).encode(pixels, encoding_plugin="pylibjpeg", **(about | how))


@pytest.mark.parametrize("syntax", [BASE, f"{BASE}.1", f"{BASE}.2", f"{BASE}.1.99"])
@pytest.mark.parametrize(("pixels", "stored"), [(TWELVE, 12), (SIGNED, 12), (EIGHT, 8)])
def test_plain_pixels_come_through(dicom, pixels, stored, syntax):
    wire = pixels.byteswap() if syntax == f"{BASE}.2" and pixels.itemsize == 2 else pixels
    image = read_dicom(dicom(wire, stored=stored, syntax=syntax))
    assert image.raw.dtype == np.int32
    assert (image.raw == pixels).all()


@pytest.mark.parametrize("uid", [f"{BASE}.5", f"{BASE}.4.90"])
@pytest.mark.parametrize(("pixels", "stored"), [(TWELVE, 12), (SIGNED, 12), (EIGHT, 8)])
def test_lossless_codecs_of_a_library(dicom, pixels, stored, uid):
    path = dicom(pixels, stored=stored, syntax=uid, codestreams=[encoded(pixels, uid, stored)])
    assert (read_dicom(path).raw == pixels).all()


@pytest.mark.parametrize("uid", [f"{BASE}.4.57", f"{BASE}.4.70"])
@pytest.mark.parametrize(("pixels", "stored"), [(TWELVE, 12), (EIGHT, 8), (SIGNED, 12)])
def test_lossless_jpeg_of_our_own_hand(dicom, making, pixels, stored, uid):
    predictor = 1 if uid.endswith("70") else 2
    stream = making.lossless_jpeg(pixels.astype(np.int64) % 2**stored, stored, predictor=predictor)
    assert (read_dicom(dicom(pixels, stored=stored, syntax=uid, codestreams=[stream])).raw == pixels).all()


def test_extended_jpeg_of_twelve_bits(dicom, making):
    blocks = RNG.integers(0, 4096, (3, 2))
    pixels = np.kron(blocks, np.ones((8, 8))).astype(np.uint16)
    path = dicom(pixels, stored=12, syntax=f"{BASE}.4.51", codestreams=[making.deep_jpeg(blocks)])
    image = read_dicom(path)
    assert np.abs(image.raw - pixels.astype(int)).max() <= 1
    signed = read_dicom(
        dicom(
            (pixels.astype(np.int16) << 4) >> 4,
            stored=12,
            syntax=f"{BASE}.4.51",
            codestreams=[making.deep_jpeg(blocks)],
        )
    )
    assert np.abs((signed.raw - pixels.astype(int) + 2048) % 4096 - 2048).max() <= 1
    assert signed.raw.min() < 0


def test_baseline_jpeg_as_another_decoder_reads_it(dicom, making):
    stream = making.jpeg(SMOOTH)
    image = read_dicom(dicom(SMOOTH, syntax=f"{BASE}.4.50", codestreams=[stream]))
    theirs = np.asarray(Image.open(io.BytesIO(stream))).astype(int)
    assert np.abs(image.raw - theirs).max() <= 1
    assert image.facts.lossy


def test_lossy_jpeg_2000_never_wraps_round(dicom):
    hard = (np.indices((64, 64)).sum(0) // 4 % 2 * 4095).astype(np.uint16)
    uid = f"{BASE}.4.91"
    path = dicom(hard, stored=12, syntax=uid, codestreams=[encoded(hard, uid, 12, j2k_cr=[30])])
    raw = read_dicom(path).raw
    assert raw.min() >= 0 and raw.max() <= 4095
    assert np.abs(raw - hard.astype(int)).mean() < 1500


@pytest.mark.parametrize("precision", [16, 12])
def test_lossy_values_beyond_the_stored_bits_are_cut_and_not_wrapped(dicom, precision):
    pixels = np.full((64, 64), 2**precision - 1, np.uint16)
    uid = f"{BASE}.4.91"
    stream = encoded(pixels, uid, precision, j2k_cr=[2])
    assert (read_dicom(dicom(pixels, stored=10, syntax=uid, codestreams=[stream])).raw == 1023).all()


def flat_jpeg_ls(making, rows, columns):
    """A black image: runs only, each code word a one, J growing as T.87 A.7.1 says."""
    order = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    bits, index = making.Bits(jpeg_ls=True), 0
    for _ in range(rows):
        left = columns
        while left >= 2 ** order[index]:
            bits.put(1, 1)
            left -= 2 ** order[index]
            index = min(index + 1, 31)
        if left:
            bits.put(1, 1)
    head = (
        b"\xff\xd8\xff\xf7"
        + b"\x00\x0b\x08"
        + rows.to_bytes(2, "big")
        + columns.to_bytes(2, "big")
        + b"\x01\x01\x11\x00"
    )
    return head + b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + bits.done() + b"\xff\xd9"


@pytest.mark.parametrize("uid", [f"{BASE}.4.80", f"{BASE}.4.81"])
def test_jpeg_ls_is_decoded(dicom, making, uid):
    black = np.zeros((11, 17), np.uint8)
    path = dicom(black, syntax=uid, codestreams=[flat_jpeg_ls(making, 11, 17)])
    assert (read_dicom(path).raw == 0).all()


def test_old_overlays_above_the_stored_bits_are_cut_off(dicom):
    with_overlay = TWELVE | 0x8000 | 0x1000
    assert (read_dicom(dicom(with_overlay, stored=12)).raw == TWELVE).all()
    shifted = (TWELVE << 4) | 3  # stored in the high bits
    path = dicom(shifted.astype(np.uint16), stored=12, HighBit=15)
    assert (read_dicom(path).raw == TWELVE).all()
    negative = (SIGNED.astype(np.int16) & 0x0FFF).astype(np.uint16)  # signs not extended, rubbish above
    path = dicom((negative | 0x5000).astype(np.uint16), stored=12, PixelRepresentation=1)
    assert (read_dicom(path).raw == SIGNED).all()


@pytest.mark.parametrize("syntax", [f"{BASE}.1", f"{BASE}.5", f"{BASE}.4.90"])
def test_frames_one_by_one(dicom, syntax):
    frames = np.stack([TWELVE, TWELVE[::-1], TWELVE // 2])
    streams = None if syntax.endswith(".1") else [encoded(f, syntax, 12) for f in frames]
    path = dicom(frames, frames=True, stored=12, syntax=syntax, codestreams=streams)
    for k, frame in enumerate(frames):
        assert (read_dicom(path, frame=k).raw == frame).all()
    with pytest.raises(BadInput, match="no frame 3; the file holds 3"):
        read_dicom(path, frame=3)


def test_a_frame_in_several_fragments_is_found_by_the_offset_table(dicom, making):
    from pydicom.encaps import encapsulate

    frames = np.stack([TWELVE, TWELVE[::-1]])
    streams = [encoded(f, f"{BASE}.4.90", 12) for f in frames]
    ds = making.data_set(frames, frames=True, stored=12)
    path = making.write(dicom(frames, frames=True, stored=12), ds, f"{BASE}.4.90", streams)
    ds.PixelData = encapsulate(streams, fragments_per_frame=3)
    ds.save_as(path, enforce_file_format=True)
    assert all((read_dicom(path, frame=k).raw == frame).all() for k, frame in enumerate(frames))
    ds.PixelData = encapsulate(streams, fragments_per_frame=3, has_bot=False)
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(BadImage, match="announces 2 frames but holds 6 fragments"):
        read_dicom(path)


COLOUR = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], 2)


def test_colour_in_every_usual_form(dicom, making):
    assert (read_dicom(dicom(COLOUR, colour="RGB")).stored.pixels == COLOUR).all()
    planes = np.ascontiguousarray(COLOUR.transpose(2, 0, 1)).reshape(COLOUR.shape)
    assert (read_dicom(dicom(planes, colour="RGB", PlanarConfiguration=1)).stored.pixels == COLOUR).all()
    luma = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
    image = read_dicom(dicom(luma, colour="YBR_FULL"))
    assert np.abs(image.stored.pixels.astype(int) - COLOUR).max() <= 3
    stream = making.jpeg(COLOUR, subsampling=0)
    image = read_dicom(dicom(COLOUR, colour="YBR_FULL", syntax=f"{BASE}.4.50", codestreams=[stream]))
    assert np.abs(image.stored.pixels.astype(int) - np.asarray(Image.open(io.BytesIO(stream)))).max() <= 3
    stream = making.jpeg(COLOUR, subsampling=1)
    image = read_dicom(dicom(COLOUR, colour="YBR_FULL_422", syntax=f"{BASE}.4.50", codestreams=[stream]))
    assert np.abs(image.stored.pixels.astype(int) - np.asarray(Image.open(io.BytesIO(stream)))).mean() <= 3
    stream = encoded(COLOUR, f"{BASE}.4.90", 8, photometric_interpretation="YBR_RCT")
    image = read_dicom(dicom(COLOUR, colour="YBR_RCT", syntax=f"{BASE}.4.90", codestreams=[stream]))
    assert (image.stored.pixels == COLOUR).all()
    rle = encoded(COLOUR, f"{BASE}.5", 8)
    assert (
        read_dicom(dicom(COLOUR, colour="RGB", syntax=f"{BASE}.5", codestreams=[rle])).stored.pixels == COLOUR
    ).all()


def test_colour_whose_channels_agree_is_grey(dicom):
    image = read_dicom(dicom(np.stack([EIGHT] * 3, 2), colour="RGB"))
    assert (image.stored.pixels == EIGHT[:, :, None]).all()
    assert image.stored.depth.top == 255


def test_subsampled_colour_without_compression(dicom):
    row = bytes([100, 200, 90, 160])  # Y Y Cb Cr
    path = dicom(np.zeros((1, 2, 3), np.uint8), colour="YBR_FULL_422", PixelData=row)
    pixels = read_dicom(path).stored.pixels[0].astype(float)
    for y, rgb in zip((100, 200), pixels, strict=True):
        red, blue = y + 1.402 * (160 - 128), y + 1.772 * (90 - 128)
        assert abs(rgb[0] - min(red, 255)) <= 1.5 and abs(rgb[2] - max(blue, 0)) <= 1.5


def test_palettes_of_eight_and_sixteen_bits(dicom):
    table = {c: RNG.integers(0, 65536, 256).astype(np.uint16) for c in ("Red", "Green", "Blue")}
    words = {f"{c}PaletteColorLookupTableData": t.tobytes() for c, t in table.items()}
    about = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in table}
    image = read_dicom(dicom(EIGHT, colour="PALETTE COLOR", **words, **about))
    expected = np.stack([t[EIGHT] >> 8 for t in table.values()], 2)
    assert (image.stored.pixels == expected).all()
    short = {f"{c}PaletteColorLookupTableDescriptor": [10, 100, 8] for c in table}
    bytes_ = {f"{c}PaletteColorLookupTableData": t[:10].astype(np.uint8).tobytes() for c, t in table.items()}
    image = read_dicom(dicom(EIGHT, colour="PALETTE COLOR", **bytes_, **short))
    index = np.clip(EIGHT.astype(int) - 100, 0, 9)
    assert (image.stored.pixels == np.stack([t.astype(np.uint8)[index] for t in table.values()], 2)).all()
    with pytest.raises(BadImage, match="red palette holds 6 of 10"):
        read_dicom(dicom(EIGHT, colour="PALETTE COLOR", **short, **{k: v[:5] + b"" for k, v in bytes_.items()}))
    with pytest.raises(BadImage, match="red palette is absent"):
        read_dicom(dicom(EIGHT, colour="PALETTE COLOR"))


def test_files_without_a_preamble_and_of_odd_length(dicom, tmp_path):
    path = dicom(EIGHT)  # 1517 pixels: the file holds a byte more
    whole = path.read_bytes()
    assert (read_dicom(path).raw == EIGHT).all()
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(whole[132:])
    assert (read_dicom(bare).raw == EIGHT).all()
    implicit = dicom(EIGHT, syntax=BASE, name="implicit.dcm").read_bytes()
    body = implicit[132 + 12 + int.from_bytes(implicit[140:144], "little") :]
    bare.write_bytes(body)
    assert (read_dicom(bare).raw == EIGHT).all()
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(whole[:-1522] + (1517).to_bytes(4, "little") + whole[-1518:-1])
    assert (read_dicom(odd).raw == EIGHT).all()


def test_the_deflated_form_is_inflated_by_us(dicom):
    path = dicom(np.zeros((512, 512), np.uint16), syntax=f"{BASE}.1.99")
    assert path.stat().st_size < 4096 < 512 * 512  # else it proves nothing
    assert (read_dicom(path).raw == 0).all()
