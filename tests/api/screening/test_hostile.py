# SPDX-License-Identifier: Apache-2.0
"""Hostile images before a real network and a real detector, in their guarded process."""

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.api.lodging import ask, left, lodging_fixture, png, screeners  # noqa: F401

from radproof.store.tables import Model


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> tuple[Path, Path]:
    """A small network with random weights in a folder of its own, and a guard of it for 24 × 24 grey images."""
    from radproof.detectors.guard import Choice, fit_guard
    from radproof.detectors.save import save_guard
    from radproof.models.blueprint import Blueprint
    from radproof.models.card import ModelCard, save_model
    from radproof.models.zoo import from_blueprint

    torch.manual_seed(0)
    labels = ("Normal", "Pneumonia")
    kind = Blueprint(
        architecture="cxrnet", labels=labels, input_size=24, channels=1, hidden=0, mean=(0.5,), std=(0.25,)
    )
    model = from_blueprint(kind).freeze()
    folder, guard = tmp_path_factory.mktemp("real") / "model", tmp_path_factory.mktemp("guard") / "g.safetensors"
    save_model(folder, model, ModelCard(**dict(kind), phantom=True))
    images = torch.rand(60, 1, 24, 24)
    clean = [{"clean": images[20:]}]
    save_guard(
        guard,
        fit_guard(model, Choice(name="frequency"), images[:20], clean, model_fingerprint=model.fingerprint()),
    )
    return folder, guard


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + _chunk(b"IEND", b"")
    )


def dicom(tmp_path: Path) -> bytes:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    one.PatientName, one.Modality, one.Rows, one.Columns = "Doe^Jane", "DX", 24, 24
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
    one.PixelData = bytes(range(24)) * 24
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, one, enforce_file_format=True)
    return stream.getvalue()


def test_hostile_images_are_refused_in_the_guarded_process_and_it_goes_on(house, lodging, real, tmp_path, caplog):
    """A real network and a real detector: a bomb, a torn file, another grid, no image, a DICOM file with a name."""
    import shutil

    who, add = lodging
    made = screeners(house, task="radproof.assess.screen_server:serve", paths=[])
    model = add([])
    folder = house.service.settings.folder("models", model)
    shutil.copytree(real[0], folder, dirs_exist_ok=True)
    shutil.copy(real[1], next(house.service.settings.folder("guards").glob("*.safetensors")))
    with house.service.database.writing() as session:
        session.get(Model, model).path = f"models/{model}"
    right = np.random.default_rng(0).integers(0, 256, (24, 24)).astype(np.uint8)
    with caplog.at_level(logging.DEBUG):
        found = ask(who, model, png(right))
        assert found.status_code == 200, found.text
        assert found.json()["phantom"] is True and sum(found.json()["probabilities"].values()) == pytest.approx(1)
        kept = made._pool.kept[model]
        hostile = {
            "bomb": (bomb(), "pixels"),
            "torn": (png(right)[:200], "truncated or damaged"),
            "grid": (png(right[:, :20].copy()), "20 × 24 pixels"),
            "none": (b"<svg onload=alert(1)>", "none of PNG"),
            "empty": (b"", "empty"),
        }
        for name, (content, words) in hostile.items():
            told = ask(who, model, content)
            assert told.status_code == 422, (name, told.text)
            assert words in told.json()["detail"], (name, told.text)
        named = ask(who, model, dicom(tmp_path))
        assert named.status_code in (200, 422)
        assert "Doe" not in named.text
        assert ask(who, model, png(right)).json()["probabilities"] == found.json()["probabilities"]
    assert made._pool.kept[model] is kept and kept.alive
    assert "Doe" not in caplog.text and left(house) == []
