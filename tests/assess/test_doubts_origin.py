"""What is doubted of models that come from elsewhere, and of what they are shown."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from radproof.assess.doubts_origin import origin_doubts
from radproof.assess.networks import Opener
from radproof.assess.sections import ModelPlan
from radproof.core.files import sha256_file
from radproof.core.progress import SILENT
from radproof.data.manifest import Manifest, Sample
from radproof.models.importers.onnx_quantised import Agreement
from radproof.models.zoo import build


@pytest.fixture
def raised(evidence, clean):
    def find(**given):
        return {doubt.kind: doubt for doubt in origin_doubts(evidence(clean(), **given))}

    return find


def test_a_model_of_ones_own_gives_no_rise_to_doubt(raised):
    assert raised() == {}


def test_a_model_that_only_answers_is_told_with_what_was_carried_over(raised):
    alone, carried = (
        raised(only_answers=True)["black-box"],
        raised(only_answers=True, surrogates={"other": 1})["black-box"],
    )
    assert alone.severity == "serious"
    assert "made on other networks" not in alone.message
    assert "made on other networks" in carried.message


def test_what_was_done_to_a_file_is_noted(raised):
    card = SimpleNamespace(notes=("a softmax was taken off",), file="model.onnx", imported="ab", metrics={})
    doubt = raised(card=card)["imported"]
    assert (doubt.severity, "model.onnx: a softmax was taken off" in doubt.message) == ("note", True)


@pytest.mark.parametrize(("same", "near", "severity"), [(0.75, 1, "serious"), (1, 0.89, "serious"), (0.8, 0.9, "note")])
def test_a_stand_in_that_answers_otherwise_is_a_serious_doubt(raised, same, near, severity):
    note = Agreement(same, near, 8).told("images", judged=True)
    card = SimpleNamespace(notes=("a", note), file="model.onnx", imported="ab", metrics={})
    model = build("cxrnet", labels=("a", "b"), input_size=32, hidden=0)
    assert "stand-in-gradients" not in raised(card=card, model=model)
    model.exact = lambda x: x
    doubt = raised(card=card, model=model)["stand-in-gradients"]
    assert doubt.severity == severity
    assert (note in doubt.message) == (severity == "serious")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_files_are_proved_on_images_that_are_not_assessed(tmp_path):
    samples = []
    for at in range(40):
        Image.new("L", (32, 32), 6 * at).save(tmp_path / f"{at}.png")
        fold = "test" if at < 20 else "validation"
        path = tmp_path / f"{at}.png"
        about = {"path": path.name, "patient": f"p{at}", "sha256": sha256_file(path), "size": path.stat().st_size}
        samples.append(Sample(id=f"{at:02}", labels=("ab"[at % 2],), fold=fold, **about))
    for at in range(20):
        (tmp_path / f"{at}.png").unlink()  # whoever reads one that is assessed stumbles
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    torch.onnx.export(net, (torch.rand(2, 3, 32, 32),), tmp_path / "m.onnx", dynamo=False, opset_version=17)
    manifest = Manifest(tmp_path, ("a", "b"), tuple(samples), "softmax", {})
    opener = Opener(manifest, tmp_path, torch.device("cpu"), SILENT)
    notes = opener.opened(ModelPlan(path=str(tmp_path / "m.onnx"))).card.notes
    assert "on 8 of the data's images it answers as its file does" in notes


def test_what_images_say_against_a_stated_card_is_serious(raised):
    assert raised(problem="another range is likelier")["conventions"].severity == "serious"


def test_left_out_detectors_are_noted(raised):
    assert "several sizes" in raised(untaught="several sizes")["no-detector"].message


@pytest.mark.parametrize(
    ("views", "told"),
    [(["PA", "AP"], None), (["LL", "LL"], None), (["PA", "LL", "pa", "lateral"], "2 of 4 images"), (["", "LL"], None)],
)
def test_lateral_views_among_frontal_ones_are_noted(raised, views, told):
    doubt = raised(views=views).get("lateral-views")
    assert (doubt is None) if told is None else told in doubt.message
