"""Detectors that nobody asked for are left out, with the reason, where images cannot teach them."""

from types import SimpleNamespace

import pytest

from radproof.assess import fitting as room
from radproof.core.progress import SILENT
from radproof.errors import BadInput


@pytest.fixture
def material(monkeypatch):
    def refuse(*_):
        raise BadInput("a detector learns from at least 20 clean images, got 18; give it more")

    monkeypatch.setattr(room, "_to_learn_from", lambda _: (None, None))
    monkeypatch.setattr(room, "one_grid", lambda *_: None)
    monkeypatch.setattr(room, "_taught", refuse)

    def make(*, required):
        plan = SimpleNamespace(detection=SimpleNamespace(required=required))
        return SimpleNamespace(plan=plan, parts=SimpleNamespace(detectors={"drift": None}), test=None, untaught="")

    return make


def test_too_few_images_are_told_and_nothing_stops(material, tmp_path):
    told = material(required=False)
    room.fit_detectors(told, tmp_path, SILENT)
    assert "at least 20" in told.untaught


def test_detectors_that_were_asked_for_are_demanded(material, tmp_path):
    with pytest.raises(BadInput, match="at least 20"):
        room.fit_detectors(material(required=True), tmp_path, SILENT)
