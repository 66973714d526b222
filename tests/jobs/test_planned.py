# SPDX-License-Identifier: Apache-2.0
"""Plans of a server name things of its database; a path or an address in one is refused wherever it stands."""

import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radproof.assess.gate_sentence import read_gate
from radproof.assess.sections import HardenedPlan, ModelPlan, SurrogatePlan
from radproof.errors import BadPlan
from radproof.jobs.assessing import plain, sweep
from radproof.jobs.planned import materialise
from radproof.store.ids import new_id
from radproof.store.tables import DataSet, Model, Project, Run, SavedPlan

from .conftest import PLAN


@pytest.fixture
def place(furnished_light):
    one = furnished_light

    def made(changes, project=None):
        with one.database.reading() as session:
            document = {**PLAN, "model": {"id": one.model}, **changes}
            return materialise(document, session, one.settings, project=project or one.project)

    made.laboratory = one
    return made


def add(laboratory, kind, prefix, **values):
    name = new_id(prefix)
    with laboratory.database.writing() as session:
        session.add(kind(id=name, **{"project_id": laboratory.project, "name": "x", **values}))
    return name


def test_ids_become_paths_within_home(place):
    one = place.laboratory
    data = add(one, DataSet, "dat", path="data/d", state="ready")
    found = place(
        {"data": {"id": data, "images": 5}, "surrogates": {"o": one.model}, "hardened": {"h": {"id": one.model}}}
    )
    home = one.settings.home.resolve()
    assert found["data"] == {"images": 5, "kind": "manifest", "path": str(home / "data" / "d")}
    assert found["model"]["path"] == found["surrogates"]["o"]["path"] == found["hardened"]["h"]["path"]
    assert found["model"]["path"] == str(home / "models" / one.model)


def test_the_architecture_told_at_an_upload_goes_to_the_model_alone(place):
    told = add(place.laboratory, Model, "mdl", path="models/t", state="ready", told={"architecture": "resnet18"})
    found = place({"model": {"id": told}, "surrogates": {"o": told}, "hardened": {"h": {"id": told}}})
    assert found["model"]["architecture"] == "resnet18"
    for section in (
        ModelPlan(**found["model"]),
        SurrogatePlan(**found["surrogates"]["o"]),
        HardenedPlan(**found["hardened"]["h"]),
    ):
        assert section.path == found["model"]["path"]


STYLE = {"name": "style", "params": {"network": "/etc/passwd"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"path": "/etc"}},
        {"model": {"train": {"weights": "/etc/passwd"}}},
        {"model": {"endpoint": {"url": "http://169.254.169.254/"}}},
        {"data": {"kind": "folder", "path": "/etc"}},
        {"data": {"kind": "phantom", "path": "/etc"}},
        {"data": {"kind": "phantom", "patients": "x.csv"}},
        {"data": {"kind": "phantom", "labels": "x.csv"}},
        {"attacks": [STYLE]},
        {"attacks": [{"name": "style", "network": "x.safetensors"}]},
        {"attacks": [{"name": "patch", "mask": "../x.png"}]},
        {"adaptive": [STYLE]},
        {"detection": {"aware": [STYLE]}},
        {"detection": {"learned": {"attacks": [STYLE, "fgsm"]}}},
        {"surrogates": {"o": {"path": "/etc"}}},
        {"surrogates": {"o": "/etc"}},
        {"surrogates": {"o": {"train": {"weights": "w.safetensors"}}}},
        {"surrogates": {"o": {"train": {"architecture": "hf-hub:someone/something"}}}},
        {"surrogates": {"o": {"train": {"architecture": "local-dir:/etc"}}}},
        {"surrogates": {"o": {"train": {"pretrained": True}}}},
        {"hardened": {"h": {"path": "x"}}},
        {"hardened": {"h": {"train": {"adversarial": {"attack": {"name": "style", "params": {"network": "x"}}}}}}},
        {"hardened": {"h": {"like": "model", "behind": [STYLE]}}},
        {"gate": ["not worse than /etc by 0.1"]},
        {"gate": ["not worse than ../other by 0.1"]},
        {"gate": 3},
        {"data": []},
        {"model": "x"},
        {"model": None},
    ],
)
def test_paths_and_addresses_are_refused(place, changes):
    if "model" in changes and isinstance(changes["model"], dict) and len(changes) == 1:
        with pytest.raises(BadPlan):
            place({"model": {"id": place.laboratory.model, **changes["model"]}})
    with pytest.raises(BadPlan):
        place(changes)


@pytest.mark.parametrize("key", ["card", "path", "endpoint"])
def test_nothing_stands_beside_an_id_that_is_a_file(place, key):
    with pytest.raises(BadPlan, match=f"model.{key}"):
        place({"model": {"id": place.laboratory.model, key: "x"}})


def test_a_dicom_keyword_is_no_file_but_was_decided_at_the_upload(place):
    data = add(place.laboratory, DataSet, "dat", path="data/d", state="ready")
    with pytest.raises(BadPlan, match=r"data\.label_tag: this was decided when the data set was uploaded"):
        place({"data": {"id": data, "label_tag": "BodyPartExamined"}})


def test_names_of_networks_within_the_plan_are_no_files(place):
    assert place({"certify": {"network": "model"}})["certify"] == {"network": "model"}


def test_another_projects_things_are_as_good_as_missing(place):
    one = place.laboratory
    with one.database.writing() as session:
        session.add(Project(id="prj_other", name="other"))
    foreign = add(one, Model, "mdl", path="models/x", state="ready", project_id="prj_other")
    messages = set()
    for name in (foreign, new_id("mdl")):
        with pytest.raises(BadPlan) as found:
            place({"surrogates": {"o": {"id": name}}})
        messages.add(str(found.value))
    assert len(messages) == 1


def test_what_is_not_ready_is_refused(place):
    name = add(place.laboratory, Model, "mdl", path="models/x", state="importing")
    with pytest.raises(BadPlan, match="not ready: it is importing"):
        place({"model": {"id": name}})


def test_a_row_cannot_lead_out_of_home(place):
    name = add(place.laboratory, Model, "mdl", path="../../etc", state="ready")
    with pytest.raises(BadPlan, match="no files"):
        place({"model": {"id": name}})


def test_a_gate_compares_with_a_finished_run_of_the_project(place):
    one = place.laboratory
    plan = add(one, SavedPlan, "pln", digest="0" * 64)
    run = add(one, Run, "run", plan_id=plan, model_id=one.model, state="done")
    sentence = f"not worse than {run} by 0.02 @ 4/255"
    assert place({"gate": [sentence, "no serious doubts"]})["gate"] == [
        f"not worse than {one.settings.folder('runs', run)} by 0.02 @ 4/255",
        "no serious doubts",
    ]
    running = add(one, Run, "run", plan_id=plan, model_id=one.model, state="running")
    with pytest.raises(BadPlan, match="not finished"):
        place({"gate": [f"not worse than {running} by 0.02"]})


def runs(one):
    """(a finished run of the project, one of another project)"""
    with one.database.writing() as session:
        if session.get(Project, "prj_other") is None:
            session.add(Project(id="prj_other", name="other"))
    found = []
    for project in (one.project, "prj_other"):
        model = add(one, Model, "mdl", path="models/x", state="ready", project_id=project)
        plan = add(one, SavedPlan, "pln", digest="0" * 64, project_id=project)
        found.append(add(one, Run, "run", plan_id=plan, model_id=model, state="done", project_id=project))
    return found


@pytest.mark.parametrize(
    "sentence",
    [
        "not  worse than ../runs/{other} by 0.02",
        "not worse\tthan ../runs/{other} by 0.02",
        "not worse than\n../runs/{other} by 0.02",
        " not worse than {mine} /../{other} by 0.02",
        "not worse than {mine} by 0.02 @ 4/255 with ../{other} by 0.1",
        "not worse than {other} by 0.02",
        "not worse than {mine}/ by 0.02",
        "not\u00a0worse than /etc by 0.02",
    ],
)
def test_a_gate_reaches_no_other_folder(place, sentence):
    mine, other = runs(place.laboratory)
    with pytest.raises(BadPlan):
        place({"gate": [sentence.format(mine=mine, other=other)]})


SPACE = st.text(" \t\n\r\f\v\u00a0\u2003\u3000", min_size=1, max_size=3)
NAMES = st.lists(
    st.sampled_from(["MINE", "OTHER", "/", "..", ".", "runs", "~", "x", "by", "with", "@", " ", "\t", "\u2003"]),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def compared(place):
    return place, runs(place.laboratory)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spaces=st.tuples(*[SPACE] * 5), pieces=NAMES, tail=st.sampled_from(["", " @ 4/255", "  with jpeg"]))
def test_whatever_a_gate_names_is_the_folder_of_an_own_run_or_refused(compared, spaces, pieces, tail):
    place, (mine, other) = compared
    a, b, c, d, e = spaces
    name = "".join(pieces).replace("MINE", mine).replace("OTHER", other)
    try:
        (found,) = place({"gate": [f"{a}not{b}worse{c}than{d}{name}{e}by 0.02{tail}"]})["gate"]
    except BadPlan:
        return
    assert read_gate(found).run == str(place.laboratory.settings.folder("runs", mine))


@pytest.mark.parametrize("value", [1e-05, 2.5e-07, 1e22, 0.1, {"a": [1, None, True, 'é"\n1/255']}, {"lr": 1e-5}])
def test_a_plan_reads_alike_as_json_and_as_yaml(value):
    assert json.loads(plain(value)) == yaml.safe_load(plain(value)) == value


def test_half_written_files_that_a_kill_left_are_removed_and_nothing_else(tmp_path):
    kept = ["images/a.png", ".lock", "b.tmp", ".c.png.tmp", ".d.png.0123456z.tmp"]
    for name in [*kept, "images/.a.png.01ab23cd.tmp"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
