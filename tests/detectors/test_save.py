# SPDX-License-Identifier: Apache-2.0
import json
import struct
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from radproof import __version__
from radproof.detectors.guard import Choice, Grid, fit_guard
from radproof.detectors.save import load_guard, read_guard_card, save_guard
from radproof.errors import BadInput, BadModel, BadPlan, UnknownName

FILE = "guard.safetensors"


@pytest.fixture
def guard(cheap, model, pictures):
    return fit_guard(
        model,
        Choice(name="rough"),
        pictures(40, 0),
        [{"clean": pictures(30, 1), "noise": pictures(30, 2)}],
        false_positive_rate=0.1,
        model_fingerprint="abc",
        outside=Choice(name="level"),
        patients=[f"p{row // 3 if row < 6 else row}" for row in range(30)],
        data_fingerprint="data",
        data="other",
    )


@pytest.fixture
def saved(guard, tmp_path):
    save_guard(tmp_path / FILE, guard)
    return tmp_path / FILE


def parts(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["radproof.guard"])  # noqa: SIM118


def write(path, tensors, header):
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(tensors, path, metadata={"radproof.guard": text})


def test_round_trip(guard, saved, model, pictures):
    again = load_guard(saved, model, model_fingerprint="abc", grid=Grid(channels=1, height=32, width=32, bits=8))
    x = pictures(12, 3)
    assert again.screen(x) == guard.screen(x)
    assert again.about == guard.about
    assert [file.name for file in saved.parent.iterdir()] == [FILE]
    before = saved.read_bytes()
    save_guard(saved, again)
    assert saved.read_bytes() == before


def test_one_detector_alone(guard, tmp_path, model, pictures):
    alone = replace(guard, outside=None)
    save_guard(tmp_path / FILE, alone)
    again = load_guard(tmp_path / FILE, model, model_fingerprint="abc")
    assert again.outside is None
    assert again.screen(pictures(3, 3)) == alone.screen(pictures(3, 3))


def test_the_header_says_what_it_was_made_from(saved):
    card = read_guard_card(saved)
    assert card.radproof == __version__
    assert (card.about.data_fingerprint, card.about.images, card.about.patients) == ("data", 30, 26)
    assert card.about.data == "other"
    assert card.suspicion.choice == Choice(name="rough", params={"least": 0})  # settled: later defaults change nothing
    assert card.suspicion.thresholds.covers == ("clean", "noise")
    assert card.outside.choice.name == "level"


def test_another_model_is_refused(saved, model):
    with pytest.raises(BadModel, match="guards model abc, the model here is xyz"):
        load_guard(saved, model, model_fingerprint="xyz")


@pytest.mark.parametrize("change", [{"channels": 3}, {"height": 31}, {"width": 64}, {"bits": 12}])
def test_other_images_are_refused_and_both_named(saved, model, change):
    other = Grid(channels=1, height=32, width=32, bits=8).model_copy(update=change)
    with pytest.raises(BadInput, match=f"grey images of 32 × 32 pixels in 8 bits, the images here are {other}"):
        load_guard(saved, model, model_fingerprint="abc", grid=other)


def test_an_unknown_detector_is_named(saved, model):
    tensors, header = parts(saved)
    header["suspicion"]["choice"]["name"] = "ruogh"
    write(saved, tensors, header)
    with pytest.raises(UnknownName, match="did you mean 'rough'"):
        load_guard(saved, model, model_fingerprint="abc")


def test_a_parameter_that_is_not_its_own_is_named(saved, model):
    tensors, header = parts(saved)
    header["suspicion"]["choice"]["params"] = {"most": 1}
    write(saved, tensors, header)
    with pytest.raises(BadPlan, match="rough has no parameter 'most'"):
        load_guard(saved, model, model_fingerprint="abc")


@pytest.mark.parametrize("content", [b"", b"not a guard", b"\x80\x04\x95pickle", struct.pack("<Q", 2**62) + b"{}"])
def test_other_files_are_refused(tmp_path, model, content):
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(BadInput, match="d is not a whole guard file"):
        load_guard(tmp_path / "d", model, model_fingerprint="abc")


def test_half_a_file_is_refused_wherever_it_breaks_off(saved, model):
    whole = saved.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        saved.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="is not a whole guard file"):
            load_guard(saved, model, model_fingerprint="abc")


def test_flipped_bytes_never_end_in_a_traceback(saved, model):
    whole = saved.read_bytes()
    refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_guard(saved, model, model_fingerprint="abc")
        except BadInput:
            refused += 1
    assert refused > 75


def test_a_huge_file_is_not_read(tmp_path, model):
    with (tmp_path / "d").open("wb") as file:
        file.truncate(10**11)  # holds nothing, and would not fit in memory
    with pytest.raises(BadInput, match="100000000000 bytes, a guard file at most 100000000"):
        load_guard(tmp_path / "d", model, model_fingerprint="abc")


def test_a_missing_file_and_a_folder_are_refused(tmp_path, model):
    for name in ("nowhere", "."):
        with pytest.raises(BadInput, match="no guard file"):
            load_guard(tmp_path / name, model, model_fingerprint="abc")


@pytest.mark.parametrize(
    "header",
    ["not JSON", "[]", "{}", "3", "[" * 100_000, '{"version": NaN}'],
    ids=["words", "list", "empty", "number", "deep", "NaN"],
)
def test_a_header_that_says_nothing_is_refused(saved, model, header):
    tensors, _ = parts(saved)
    write(saved, tensors, header)
    with pytest.raises(BadInput, match=r"is not a whole guard file|no guard file of this version"):
        load_guard(saved, model, model_fingerprint="abc")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version"),
        ({"more": 1}, "more"),
        ({"about": {"model_fingerprint": "abc", "grid": {"channels": 1, "height": 0, "width": 2}}}, "height"),
    ],
)
def test_a_header_of_another_version_is_refused(saved, model, change, words):
    tensors, header = parts(saved)
    write(saved, tensors, header | change)
    with pytest.raises(BadInput, match=f"no guard file of this version: .*{words}"):
        load_guard(saved, model, model_fingerprint="abc")


def test_tensors_without_a_header_are_refused(tmp_path, model):
    save_file({"mean": torch.zeros(1)}, tmp_path / "d")
    with pytest.raises(BadInput, match="d is not a whole guard file"):
        load_guard(tmp_path / "d", model, model_fingerprint="abc")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_when_read_and_when_written(guard, saved, model, number):
    tensors, header = parts(saved)
    for name in tensors:
        broken = tensors[name].clone()
        broken.view(-1)[0] = number
        write(saved, tensors | {name: broken}, header)
        with pytest.raises(BadInput, match="NaN or infinite"):
            load_guard(saved, model, model_fingerprint="abc")
    guard.suspicion.clean[0] = number
    with pytest.raises(BadInput, match="NaN or infinite"):
        save_guard(saved.parent / "other", guard)
    assert not (saved.parent / "other").exists()


def test_tensors_that_do_not_go_together_are_refused(saved, model):
    tensors, header = parts(saved)
    for name, tensor in tensors.items():
        state = name.startswith("suspicion/state/")
        shapes = (tensor[:-1], tensor[None], tensor.new_zeros(0)) if state else ()
        files = [tensors | {name: wrong.contiguous()} for wrong in shapes]
        for file in (*files, {key: value for key, value in tensors.items() if key != name}):
            write(saved, file, header)
            with pytest.raises(BadInput, match="again"):
                load_guard(saved, model, model_fingerprint="abc")


def test_clean_scores_out_of_order_or_too_many_are_refused(saved, model):
    tensors, header = parts(saved)
    for wrong in (tensors["suspicion/clean"].flip(0).contiguous(), torch.zeros(2001)):
        write(saved, tensors | {"suspicion/clean": wrong}, header)
        with pytest.raises(BadInput, match="at most 2000 clean scores in order"):
            load_guard(saved, model, model_fingerprint="abc")


def test_a_guard_that_cannot_be_written_leaves_the_old_one(guard, saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(Exception, match="full"):
        save_guard(saved, guard)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [FILE]
