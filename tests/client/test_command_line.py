# SPDX-License-Identifier: Apache-2.0
"""`assess --server` and every `remote` command against the real application; the test does what a worker would."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import update
from tests.client.conftest import Lab
from tests.jobs.test_importing import here_instead

from radproof.assess import receiving, sheltered
from radproof.assess.receiving import receive
from radproof.cli import main, remote
from radproof.client import Client
from radproof.client.packing import packed
from radproof.errors import BadInput
from radproof.store.tables import DataSet, Job, Model, Run, SavedPlan

Cli = Callable[..., int]
AT = ("--server", "http://localhost")
DONE = (0, 1)  # 1: the run's gate was not kept


@pytest.fixture
def cli(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command line against the application; its exit code."""

    @contextmanager
    def connected(url: str, allow_http: bool = False) -> Iterator[Client]:
        with Client(url, lab.key, sleep=lambda _: None, transport=lab.bridge, allow_http=allow_http) as client:
            yield client

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["radproof", *arguments])
        try:
            main()
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    monkeypatch.setattr(remote, "connected", connected)
    for name in ("RADPROOF_SERVER", "RADPROOF_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    lab.bridge.after = lambda request, answer: work(lab, request, answer)
    return run


def work(lab: Lab, request: httpx.Request, answer: httpx.Response) -> None:
    """As a worker, at once."""
    if request.method != "POST" or answer.status_code != 201:
        return
    made, settings = answer.json()["id"], lab.house.service.settings
    kind = {"mdl": Model, "dat": DataSet, "run": Run}.get(made[:3])
    if kind is None:
        return
    with lab.house.service.database.writing() as session:
        session.execute(update(Job).where(Job.subject_id == made).values(state="done"))
        if kind is Run:
            shutil.copytree(
                settings.folder("runs", lab.seeds.run), settings.folder("runs", made), copy_function=os.link
            )
            session.execute(update(Run).where(Run.id == made).values(state="done"))
        else:
            folder = "models" if kind is Model else "data"
            values = {"state": "ready", "path": f"{folder}/{made}", "facts": {"patients_known": True}}
            session.execute(update(kind).where(kind.id == made).values(**values))


def put(lab: Lab, state: str) -> str:
    with lab.house.service.database.writing() as session:
        session.execute(update(Job).where(Job.subject_id == lab.seeds.run).values(state=state))
        session.execute(update(Run).where(Run.id == lab.seeds.run).values(state=state))
    return lab.seeds.run


@pytest.fixture
def plan(tmp_path: Path, network: Path, images: Path) -> Path:
    (tmp_path / "card.yaml").write_text("labels: [Normal, Pneumonia]")
    (tmp_path / "patients.csv").write_text("path,patient\nNormal/a.png,1\nPneumonia/a.png,2\n")
    (tmp_path / "other.safetensors").write_bytes(network.read_bytes() + b" ")
    told = {
        "name": "mine", "attacks": ["pgd"], "budgets": ["1/255"],
        "model": {"path": network.name, "card": "card.yaml", "architecture": "resnet18"},
        "data": {"kind": "folder", "path": "set", "patients": "patients.csv", "images": 5},
        "surrogates": {"like": "other.safetensors", "both": {"path": network.name}, "pair": {"of": ["like", "both"]}},
        "hardened": {"hard": {"path": "other.safetensors"}},
    }  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(told))
    return tmp_path / "plan.yaml"


def change(plan: Path, **sections: object) -> None:
    plan.write_text(yaml.safe_dump(yaml.safe_load(plan.read_text()) | sections))


def test_a_plan_is_done_in_the_project_that_is_named(
    cli: Cli, lab: Lab, plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = lab.also("other")
    out = plan.parent / "out"
    assert cli("assess", str(plan), *AT, "--out", str(out)) == 2
    assert "say which project" in capsys.readouterr().err
    assert cli("assess", str(plan), *AT, "--out", str(out), "--project", "other", "--quiet") in DONE
    assert (out / "report.html").is_file() and list((out / "images").iterdir())
    with lab.house.service.database.reading() as session:
        runs = [run for run in session.query(Run).all() if run.id != lab.seeds.run]
        assert [run.project_id for run in runs] == [other]
        document = session.get(SavedPlan, runs[0].plan_id).document
        assert document["model"].keys() == {"id"} and document["data"].keys() == {"id", "images"}
        assert document["surrogates"]["like"].keys() == {"id"} and document["hardened"]["hard"].keys() == {"id"}
    uploads = [path for method, path, _, _ in lab.bridge.asked if method == "POST" and not path.endswith("/runs")]
    assert sorted(path.rsplit("/", 1)[1] for path in uploads) == ["data", "models", "models", "models"]

    monkeypatch.setenv("RADPROOF_PROJECT", "ours")  # where nothing of it is: what another project has is not taken
    assert cli("assess", str(plan), *AT, "--out", str(plan.parent / "second"), "--quiet") in DONE
    with lab.house.service.database.reading() as session:
        assert {one.project_id for one in session.query(DataSet).all()} == {lab.person.project, other}

    for words, codes in (((), DONE), (("--project", "other"), (2,)), (("--project", "other", "--overwrite"), DONE)):
        where = out if "--overwrite" in words else plan.parent / "second"  # other ids, so another plan
        assert cli("assess", str(plan), *AT, "--out", str(where), "--quiet", *words) in codes


def test_patients_that_are_told_come_to_be_known(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "call", here_instead)
    from PIL import Image

    from radproof.cli.remote_plan import DataFile, read, replaced

    sent: list[DataFile] = []
    rows = ["path,patient"]
    for number in range(8):
        name = ("Normal", "Pneumonia")[number % 2]
        Image.new("L", (8, 8), 20 * number).save(plan.parent / "set" / name / f"{number}.png")
        rows.append(f"{name}/{number}.png,{number}")
    for name in ("Normal", "Pneumonia"):
        (plan.parent / "set" / name / "a.png").unlink()
    (plan.parent / "patients.csv").write_text("\n".join(rows))
    replaced(read(plan), plan.parent, lambda file: "mdl_1", lambda file: [sent.append(file), "dat_1"][1])
    with packed(sent[0].path) as file:
        found = receive(file, tmp_path / "in", labels=sent[0].table)
    assert found.patients_known and found.patients == 8


@pytest.mark.parametrize(("sections", "said"), [
    ({"model": {"train": {"epochs": 1}}}, "radproof train"),
    ({"model": {"endpoint": {"url": "https://a.example"}}}, "endpoint"),
    ({"hardened": {"hard": {"train": {"weights": "w.safetensors"}}}}, "hardened.hard.train.weights"),
    ({"surrogates": {"like": {"path": "gone.safetensors"}}}, "surrogates.like"),
    ({"attacks": [{"name": "patch", "mask": "mask.png"}]}, "attacks.mask"),
    ({"data": {"kind": "folder", "path": "set", "split": "image"}}, "data.split"),
    ({"data": {"kind": "nih", "path": "set", "patients": "patients.csv"}}, "data.patients"),
    ({"gate": ["not worse than runs/old by 0.05"]}, "gate"),
])  # fmt: skip
def test_what_a_server_cannot_do_is_refused_before_anything_is_sent(
    cli: Cli, lab: Lab, plan: Path, sections: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(plan, **sections)
    assert cli("assess", str(plan), *AT, "--out", str(plan.parent / "out")) == 2
    assert said in capsys.readouterr().err and not lab.bridge.asked


@pytest.mark.parametrize("words", [
    ("--images", "5"), ("--seed", "1"), ("--attacks", "pgd"), ("--replay", "old"), ("--model", "m"),
])  # fmt: skip
def test_options_that_a_server_is_not_given_are_refused(
    cli: Cli, lab: Lab, plan: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("assess", str(plan), *AT, *words) == 2
    assert words[0] in capsys.readouterr().err and not lab.bridge.asked


def refused(*_: object, **__: object) -> None:
    raise BadInput("no model there")


def test_only_server_goes_to_a_server(
    cli: Cli, lab: Lab, plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RADPROOF_SERVER", "http://localhost")
    monkeypatch.setattr(sheltered, "call", refused)  # guarded, which takes seconds
    assert cli("assess", "--model", str(plan.parent / "nothing"), "--data", "phantom", "--quiet") == 2
    assert "PLAN.yaml" not in capsys.readouterr().err and not lab.bridge.asked
    assert cli("remote", "status") == 0 and lab.bridge.asked


def test_a_folder_that_holds_something_else_is_kept(cli: Cli, lab: Lab, plan: Path) -> None:
    (plan.parent / "out").mkdir()
    (plan.parent / "out" / "mine.txt").write_text("kept")
    assert cli("assess", str(plan), *AT, "--out", str(plan.parent / "out")) == 2 and not lab.bridge.asked
    assert cli("remote", "fetch", lab.seeds.run, *AT, "--out", str(plan.parent / "out")) == 2


def test_http_beyond_this_machine_is_allowed_by_a_word(
    cli: Cli, lab: Lab, plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("--server", "http://lab.example", "--out", str(plan.parent / "out"), "--quiet")
    assert cli("assess", str(plan), *there) == 2 and "https" in capsys.readouterr().err
    assert cli("assess", str(plan), *there, "--allow-http") in DONE


def test_every_command_is_answered(cli: Cli, lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, kept in (("models", lab.seeds.model), ("data", lab.seeds.data), ("runs", lab.seeds.run)):
        for words in ((), ("--project", "ours")):
            assert cli("remote", name, *AT, "--json", *words) == 0
            assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [kept]
    assert cli("remote", "status", *AT) == 0 and "no worker" in capsys.readouterr().out
    for word, before, after in (
        ("pause", "queued", "paused"), ("resume", "paused", "queued"), ("cancel", "running", "cancelling"),
        ("retry", "failed", "queued"),
    ):  # fmt: skip
        assert cli("remote", word, put(lab, before), *AT) == 0
        assert capsys.readouterr().out.strip().endswith(f"is {after}")
    assert cli("remote", "priority", lab.seeds.run, "3", *AT) == 0 and "priority 3" in capsys.readouterr().out
    out = tmp_path / "fetched"
    assert cli("remote", "fetch", put(lab, "done"), *AT, "--out", str(out), "--quiet") == 0
    assert (out / "report.html").is_file() and (out / "result.json").is_file() and list((out / "images").iterdir())
    image = next((out / "images").iterdir())
    assert cli("remote", "screen", str(image), "--model", lab.seeds.model, *AT) == 2
    capsys.readouterr()
    assert cli("remote", "keys", *AT, "--json") == 0
    own = next(one["id"] for one in json.loads(capsys.readouterr().out) if one["used"])
    assert cli("remote", "revoke", own, *AT) == 0 and cli("remote", "status", *AT) == 2
    registered = {one.name or one.callback.__name__ for one in remote.remote.registered_commands}
    assert registered == {
        "status", "models", "data", "runs", "cancel", "pause", "resume", "retry", "priority", "fetch", "screen",
        "keys", "revoke",
    }  # fmt: skip


def test_a_paused_run_is_not_waited_for(cli: Cli, lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("remote", "fetch", put(lab, "paused"), *AT, "--out", str(tmp_path / "a")) == 130
    assert f"radproof remote resume {lab.seeds.run}" in capsys.readouterr().err
