"""Pictures that travel inside the page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from radproof.assess.result import Picture
from radproof.errors import BadData
from radproof.reports.pictures import SIDE, strips


@pytest.fixture
def picture(result):
    return result.gallery[0].model_copy(update={"files": {"original": "a.png"}})


def pixels(view):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(view.uri.partition(",")[2]))).convert("L"))


def test_captions_say_what_was_answered_and_whether_it_was_right(result, finished):
    strip = strips(result.gallery, finished)[0]
    assert strip.title == "Truth: Pneumonia"
    assert [view.title for view in strip.views[:2]] == ["Original", "Attacked"]
    assert strip.views[0].caption == "Pneumonia, 93 % sure (right)"
    assert strip.views[1].caption == "Normal, 100 % sure (wrong)"
    assert strip.views[2].caption == "jpeg_tvm: Pneumonia, 61 % sure (right)"
    assert all(view.alt.startswith(view.title) and "truth Pneumonia" in view.alt for view in strip.views)


def test_grey_pictures_arrive_without_loss(picture, tmp_path):
    drawn = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    Image.fromarray(drawn).save(tmp_path / "a.png")
    view = strips((picture,), tmp_path)[0].views[0]
    assert (view.width, view.height) == (60, 40)
    assert np.array_equal(pixels(view), drawn)


def test_sixteen_bits_become_eight_by_their_upper_half(picture, tmp_path):
    drawn = np.array([[0, 255, 256, 65535]], np.uint16).repeat(4, 0)
    Image.fromarray(drawn).save(tmp_path / "a.png")
    assert pixels(strips((picture,), tmp_path)[0].views[0])[0].tolist() == [0, 0, 1, 255]


def test_large_pictures_are_reduced(picture, tmp_path):
    Image.fromarray(np.zeros((600, 300), np.uint8)).save(tmp_path / "a.png")
    view = strips((picture,), tmp_path)[0].views[0]
    assert (view.width, view.height) == (SIDE // 2, SIDE)


def test_the_difference_keeps_its_contrast_when_reduced(picture, tmp_path):
    drawn = np.random.default_rng(0).choice([0, 255], (512, 512)).astype(np.uint8)
    Image.fromarray(drawn).save(tmp_path / "a.png")
    row = picture.model_copy(update={"files": {"difference": "a.png"}})
    assert set(np.unique(pixels(strips((row,), tmp_path)[0].views[0]))) == {0, 255}


def test_a_picture_that_is_gone_leaves_its_place(picture, tmp_path):
    view = strips((picture,), tmp_path)[0].views[0]
    assert view.uri == ""
    assert "no longer in the run's folder" in view.caption


@pytest.mark.parametrize("path", ["../a.png", "/etc/hostname", "sub/../../a.png"])
def test_files_outside_the_run_are_refused(picture, tmp_path, path):
    run = tmp_path / "run"
    run.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    row: Picture = picture.model_copy(update={"files": {"original": path}})
    with pytest.raises(BadData, match="outside the run's folder"):
        strips((row,), run)


def test_a_link_out_of_the_run_is_refused(picture, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    (run / "a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(BadData, match="outside"):
        strips((picture,), run)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_refused(picture, tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadData, match=r"no readable PNG"):
        strips((picture,), tmp_path)


def test_other_formats_are_refused_whatever_they_are_called(picture, tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png", format="BMP")
    with pytest.raises(BadData, match=r"no readable PNG"):
        strips((picture,), tmp_path)
