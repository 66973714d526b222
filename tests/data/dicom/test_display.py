"""From stored values to grey levels: derived by hand from the standard, and by pydicom's own tables."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from radproof.core.depth import Depth
from radproof.data.dicom.read import read_dicom
from radproof.errors import BadImage, BadInput

RNG = np.random.default_rng(7)
RAW = RNG.integers(0, 4096, (30, 20)).astype(np.uint16)
RAW[0, 0], RAW[0, 1] = 0, 4095
SIGNED = RNG.integers(-1000, 1000, (30, 20)).astype(np.int16)


def levels(image):
    assert image.stored.pixels.shape[2] == 1
    return image.stored.pixels[:, :, 0].astype(int)


def lut(keyword, first, entries, bits, dtype=np.uint16):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    item.LUTData = np.asarray(entries, dtype).tobytes()
    item["LUTData"].VR = "OW"
    return {keyword: [item]}


def theirs(path):
    """Brightness in modality order by pydicom, in its own output range."""
    ds = dcmread(path)
    return apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds).astype(float)


def test_a_linear_window_is_a_grid_of_stored_values(dicom):
    # Centre 2048, width 1001: black at 2048 - .5 - 500 = 1547.5, white at 2547.5; the whole values inside are shown.
    image = read_dicom(dicom(RAW, stored=12, WindowCenter=2048, WindowWidth=1001))
    assert (image.display.low, image.display.high) == (1548, 2547)
    assert image.stored.depth == Depth(999, held=True)
    assert (levels(image) == np.clip(RAW.astype(int), 1548, 2547) - 1548).all()
    expected = theirs(dicom(RAW, stored=12, WindowCenter=2048, WindowWidth=1001)) / 4095
    assert np.abs(levels(image) / 999 - expected).max() <= 1 / 1000


@pytest.mark.parametrize(("function", "ends"), [("LINEAR", (96, 103)), ("LINEAR_EXACT", (96, 104))])
def test_the_ends_of_even_windows(dicom, function, ends):
    # LINEAR: 99.5 -+ 3.5; LINEAR_EXACT: 100 -+ 4.
    image = read_dicom(dicom(RAW, stored=12, WindowCenter=100, WindowWidth=8, VOILUTFunction=function))
    assert (image.display.low, image.display.high) == ends


def test_a_window_of_one_step_is_a_threshold(dicom):
    image = read_dicom(dicom(RAW, stored=12, WindowCenter=100, WindowWidth=1))  # over 99.5 is white
    assert (levels(image) == (RAW >= 100)).all()
    assert image.stored.depth == Depth(1, held=True)


@pytest.mark.parametrize("slope", [1, 0.5, 2, -1, -0.25])
def test_rescaling_moves_the_window_back_to_stored_values(dicom, slope):
    path = dicom(SIGNED, stored=12, RescaleSlope=slope, RescaleIntercept=-24, WindowCenter=40, WindowWidth=400)
    image = read_dicom(path)
    black, white = sorted(((40 - 0.5 + side * 199.5) + 24) / slope for side in (-1, 1))
    assert (image.display.low, image.display.high) == (int(np.ceil(black)), int(np.floor(white)))
    assert image.display.inverted == (slope < 0)
    brightness = np.clip((SIGNED * slope - 24 - 39.5) / 399 + 0.5, 0, 1)  # C.11.2.1.2.1
    assert np.abs(levels(image) / image.stored.top - brightness).max() <= 1.01 * max(abs(slope), 0.5) / 400
    if slope > 0:  # pydicom turns its output range round where it is negative
        span = (theirs(path) - theirs(path).min()) / np.ptp(theirs(path))
        assert np.abs(span - brightness).max() < 0.01


@pytest.mark.parametrize(
    ("colour", "word", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),  # what the standard asks for beside MONOCHROME1: said twice, done once
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
@pytest.mark.parametrize("slope", [1, -1])
def test_polarity(dicom, colour, word, inverted, slope):
    about = {"PresentationLUTShape": word} if word else {}
    image = read_dicom(dicom(RAW, stored=12, colour=colour, RescaleSlope=slope, RescaleIntercept=0, **about))
    expected = 4095 - RAW.astype(int) if inverted != (slope < 0) else RAW
    assert (levels(image) == expected).all()


def test_without_a_window_eight_bits_are_shown_whole_and_deeper_ones_from_least_to_most(dicom):
    eight = RNG.integers(40, 90, (9, 9)).astype(np.uint8)
    image = read_dicom(dicom(eight))
    assert image.stored.depth == Depth(255) and (levels(image) == eight).all()
    deep = RAW // 4 + 300
    image = read_dicom(dicom(deep.astype(np.uint16), stored=12))
    assert (levels(image) == deep - 300).all()
    assert image.stored.depth == Depth(1023)  # 4095 // 4
    flat = read_dicom(dicom(np.full((4, 4), 7, np.uint16), stored=12))
    assert flat.stored.depth == Depth(1) and (levels(flat) == 0).all()
    flat = read_dicom(dicom(np.full((4, 4), 4095, np.uint16), stored=12))
    assert (flat.display.low, flat.display.high) == (4094, 4095)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_padding_does_not_count_as_image(dicom, syntax):
    padded = SIGNED.copy()
    padded[:5] = -2000
    padded[5, :9] = -1990
    about = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}
    image = read_dicom(dicom(padded, stored=12, syntax=syntax, **about))
    assert (image.display.low, image.display.high) == (SIGNED[6:].min(), max(SIGNED[6:].max(), SIGNED[5, 9:].max()))
    assert image.stored.depth.held and levels(image)[0, 0] == 0
    one = read_dicom(dicom(padded, stored=12, syntax=syntax, PixelPaddingValue=-2000))
    assert one.display.low == -1990


def test_asked_for_windows(dicom):
    about = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1, "WindowWidth": 5}
    path = dicom(RAW, stored=12, **about)
    image = read_dicom(path, voi=(1000.5, 2001))  # HU 0..2000: stored 500..1500
    assert (image.display.low, image.display.high) == (500, 1500)
    assert read_dicom(path, voi=[1000.5, 2001]).display == image.display
    assert read_dicom(path, voi="full").stored.depth == Depth(4095)
    assert read_dicom(dicom(RAW // 2, stored=12, **about), voi="minmax").display.high == 2047


def test_the_first_of_several_windows(dicom):
    image = read_dicom(dicom(RAW, stored=12, WindowCenter=[100.5, 2000], WindowWidth=[101, 4000]))
    assert (image.display.low, image.display.high) == (50, 150)
    assert image.facts.window_centers == (100.5, 2000)


def test_a_window_beyond_the_stored_bits_ends_with_them(dicom):
    image = read_dicom(dicom(RAW, stored=12, WindowCenter=2048, WindowWidth=9000))
    assert (image.display.low, image.display.high) == (0, 4095)
    assert not image.stored.depth.held


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"WindowCenter": 100, "WindowWidth": 0}, "window is 0 wide"),
        ({"WindowCenter": 100, "WindowWidth": -5}, "window is -5 wide"),
        ({"WindowCenter": 100}, "lacks a centre or a width"),
        ({"WindowCenter": 9000, "WindowWidth": 100}, "lies beside every value"),
        ({"WindowCenter": 9, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "VOILUTFunction must be one of LINEAR"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "RescaleSlope is 0"),
    ],
)
def test_displays_that_cannot_be(dicom, about, words):
    path = dicom(RAW, stored=12, **about)
    with pytest.raises(BadImage, match=words):
        read_dicom(path)
    if "RescaleSlope" not in about:  # what the message advises helps
        assert (levels(read_dicom(path, voi="minmax")) == RAW).all()


@pytest.mark.parametrize("voi", ["window", (1, 0), (1, float("nan")), (1,), 3, ("a", "b"), None])
def test_other_words_for_the_window_are_refused(dicom, voi):
    with pytest.raises(BadInput, match="voi must be 'file', 'full', 'minmax'"):
        read_dicom(dicom(RAW, stored=12), voi=voi)


def test_sigmoid_windows_come_as_a_table(dicom):
    path = dicom(RAW, stored=12, WindowCenter=2000, WindowWidth=600, VOILUTFunction="SIGMOID", colour="MONOCHROME1")
    image = read_dicom(path)
    brightness = 1 - 1 / (1 + np.exp(-4 * (RAW - 2000.0) / 600))
    assert np.abs(levels(image) - brightness * 65535).max() <= 0.51
    assert image.stored.top == 65535 and image.display.inverted
    assert len(image.display.table) == image.display.high - image.display.low + 1
    assert np.abs(1 - theirs(path) / 4095 - brightness).max() < 1e-3  # the formula is the standard's


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_voi_tables(dicom, bits):
    entries = np.sort(RNG.integers(0, 2**bits, 700))
    about = lut("VOILUTSequence", 1000, entries, bits)
    path = dicom(RAW, stored=12, **about, WindowCenter=5, WindowWidth=5)  # the table goes before the window
    image = read_dicom(path)
    expected = entries[np.clip(RAW.astype(int) - 1000, 0, 699)] / (2**bits - 1)
    assert np.abs(levels(image) - expected * 65535).max() <= 0.51
    if bits > 8:
        assert np.abs(theirs(path) / (2**bits - 1) - expected).max() < 1e-9


def test_a_table_that_ends_in_grey_is_kept_whole(dicom):
    """Only black and white are held: a value beyond a cut in grey would be moved by attacks and not in the file."""
    grey = read_dicom(dicom(RAW, stored=12, **lut("VOILUTSequence", 1000, np.linspace(200, 3900, 1000), 12)))
    assert (grey.display.low, grey.display.high, grey.stored.depth.held) == (0, 4095, False)
    white = read_dicom(dicom(RAW, stored=12, **lut("VOILUTSequence", 1000, np.linspace(200, 4095, 1000), 12)))
    assert (white.display.low, white.display.high, white.stored.depth.held) == (0, 1999, True)
    assert set(levels(white)[RAW > 1999]) == {65535}
    both = read_dicom(dicom(RAW, stored=12, **lut("VOILUTSequence", 1000, np.linspace(0, 4095, 1000), 12)))
    assert (both.display.low, both.display.high, both.stored.depth.held) == (1000, 1999, True)
    assert set(levels(both)[(RAW < 1000) | (RAW > 1999)]) == {0, 65535}


def test_voi_table_of_bytes_and_behind_a_rescaling_below_zero(dicom):
    entries = np.arange(256)[::-1]
    about = lut("VOILUTSequence", -1024, entries, 8, np.uint8)
    image = read_dicom(dicom(RAW, stored=12, RescaleSlope=1, RescaleIntercept=-1024, **about))
    expected = 255 - np.clip(RAW.astype(int), 0, 255)
    assert np.abs(levels(image) - expected * 257).max() <= 0.51


def test_modality_tables_go_before_the_window(dicom):
    entries = (np.arange(4096) ** 2 // 4096).astype(np.uint16)
    about = lut("ModalityLUTSequence", 0, entries, 16) | {"WindowCenter": 2000, "WindowWidth": 1001}
    about["ModalityLUTSequence"][0].ModalityLUTType = "US"
    path = dicom(RAW, stored=12, **about)
    image = read_dicom(path)
    expected = np.clip((entries[RAW] - 1499.5) / 1000, 0, 1)
    assert np.abs(levels(image) - expected * 65535).max() <= 0.51
    span = theirs(path)
    assert np.abs((span - span.min()) / np.ptp(span) - expected).max() < 1e-6
    without = read_dicom(path, voi="minmax")
    values = entries[RAW].astype(float)
    assert np.abs(levels(without) - (values - values.min()) / np.ptp(values) * 65535).max() <= 0.51


@pytest.mark.parametrize("entries", [np.arange(9), []])
def test_tables_that_are_shorter_than_they_say_are_refused(dicom, entries):
    about = lut("VOILUTSequence", 0, entries, 16)
    about["VOILUTSequence"][0].LUTDescriptor = [10, 0, 16]
    with pytest.raises(BadImage, match="table in VOILUTSequence is damaged"):
        read_dicom(dicom(RAW, stored=12, **about))


def test_frames_of_an_enhanced_file_have_displays_of_their_own(dicom):
    def group(centre):
        rescale, window, item = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = 1, -1000
        window.WindowCenter, window.WindowWidth = centre, 101
        item.PixelValueTransformationSequence, item.FrameVOILUTSequence = [rescale], [window]
        return item

    path = dicom(
        np.stack([RAW, RAW]), frames=True, stored=12, PerFrameFunctionalGroupsSequence=[group(0.5), group(500.5)]
    )
    assert [read_dicom(path, frame=k).display.low for k in (0, 1)] == [950, 1450]


def test_the_real_files(shared):
    folder = shared / "data" / "dicom"
    nih, siim, twin, agfa = (read_dicom(next(folder.glob(name))) for name in ("nih_*", "siim_1*", "siim_same*", "RG1*"))
    assert nih.stored.depth == siim.stored.depth == twin.stored.depth == Depth(255)
    assert (levels(nih) == dcmread(next(folder.glob("nih_*"))).pixel_array).all()
    assert (levels(twin) == 255 - levels(siim)).all()
    ds = dcmread(next(folder.glob("RG1*")))
    # Window 15000/30000: 14999.5 -+ 14999.5; MONOCHROME1.
    assert agfa.stored.depth == Depth(29999)
    assert (levels(agfa) == 29999 - ds.pixel_array.astype(int)).all()
    assert (agfa.raw == ds.pixel_array).all()
    assert agfa.facts.pixel_spacing == (0, 0) and agfa.facts.lossy_ratios == (10,)
    assert agfa.facts.view == siim.facts.view == "PA" and siim.facts.age == 62
