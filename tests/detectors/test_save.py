# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from safetensors.torch import save_file

from radproof.detectors import detector
from radproof.detectors.calibrate import calibrate
from radproof.detectors.save import DetectorCard, load_detector, save_detector
from radproof.errors import BadInput, BadModel, UnknownName


@pytest.mark.parametrize("name", ["frequency", "consistency"])
def test_round_trip(tmp_path, model, pictures, name):
    fitted = detector[name].make({}).fit(model, pictures(20, 0))
    threshold = calibrate(fitted.score(pictures(20, 1)), false_positive_rate=0.05)
    card = DetectorCard(name=name, model_fingerprint="abc", threshold=threshold)
    save_detector(tmp_path / "detector.safetensors", card, fitted)
    again, read = load_detector(tmp_path / "detector.safetensors", model, model_fingerprint="abc")
    assert read == card
    assert torch.equal(again.score(pictures(3, 2)), fitted.score(pictures(3, 2)))
    assert [file.name for file in tmp_path.iterdir()] == ["detector.safetensors"]


def test_another_model_is_refused(tmp_path, model, pictures):
    fitted = detector["frequency"].make({}).fit(model, pictures(20, 0))
    save_detector(tmp_path / "d", DetectorCard(name="frequency", model_fingerprint="abc"), fitted)
    with pytest.raises(BadModel, match="fitted with model abc, the model here is xyz"):
        load_detector(tmp_path / "d", model, model_fingerprint="xyz")


def test_an_unknown_detector_is_named(tmp_path, model, pictures):
    fitted = detector["frequency"].make({}).fit(model, pictures(20, 0))
    save_detector(tmp_path / "d", DetectorCard(name="frequencey", model_fingerprint="abc"), fitted)
    with pytest.raises(UnknownName, match="did you mean 'frequency'"):
        load_detector(tmp_path / "d", model, model_fingerprint="abc")


@pytest.mark.parametrize("content", [b"", b"not a detector", b"\x80\x04\x95pickle"])
def test_other_files_are_refused(tmp_path, model, content):
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(BadInput, match="d is not a detector file"):
        load_detector(tmp_path / "d", model, model_fingerprint="abc")


def test_tensors_without_a_card_and_missing_files_are_refused(tmp_path, model):
    save_file({"mean": torch.zeros(1)}, tmp_path / "d")
    for name in ("d", "nowhere"):
        with pytest.raises(BadInput, match=f"{name} is not a detector file"):
            load_detector(tmp_path / name, model, model_fingerprint="abc")
