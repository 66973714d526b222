"""The gate as continuous integration runs it: one script, both ways, and the jobs that call it."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from radproof import app
from radproof.assess.finished import open_run

ROOT = Path(__file__).parents[2]
CI = ROOT / "examples" / "ci"
WRITTEN = {"report.html", "result.json", "rows.parquet", "summary.md", "gate.junit.xml", "gate.sarif"}


def draw_stripes(root: Path) -> Path:
    """Two classes that only their texture tells apart: stripes that rise or fall, at any phase, in noise.

    One image in ten lies in the wrong folder, so that no model is certain of itself beyond what float32 can climb.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    for label, slope in (("Normal", 1), ("Pneumonia", -1)):
        (root / label).mkdir(parents=True)
        for n in range(100):
            waves = np.sin(
                np.pi / 3 * (columns + (-slope if n % 10 == 0 else slope) * rows) + rng.uniform(0, 2 * np.pi)
            )
            grey = 120 + rng.uniform(4, 14) * waves + rng.normal(0, 12, waves.shape)
            # Not compressed: the sizes of the files would tell which way stripes run.
            Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(root / label / f"{n}.png", compress_level=0)
    lines = [f"{label}/{n}.png,{label}-{n},PA" for label in ("Normal", "Pneumonia") for n in range(100)]
    (root / "patients.csv").write_text("\n".join(["path,patient,view", *lines]))
    return root


def gate_sh(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {key: value for key, value in os.environ.items() if key != "GITHUB_STEP_SUMMARY"}
    return subprocess.run(
        ["bash", str(CI / "gate.sh"), *map(str, arguments)],
        env={**quiet, "PATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=290,
    )


@pytest.fixture(scope="module")
def striped(tmp_path_factory, plan):
    """A plan whose model answers well, and keeps what it promises."""
    root = tmp_path_factory.mktemp("gate")
    draw_stripes(root / "set")
    return root, {
        "name": "striped",
        "seed": 1,
        "data": {"kind": "folder", "path": "set", "patients": "set/patients.csv"},
        "model": {"train": {**plan["model"]["train"], "augment": {"enabled": False}}},
        "attacks": [{"name": "pgd", "steps": 2}],
        "budgets": ["1/255", "8/255"],
        "smallest": None,
        "survival": False,
        "precision": "fp32",
        "batch": 20,
        "bootstrap": 200,
        "gallery": 0,
        "gate": ["clean_accuracy >= 0.6", "robust_accuracy >= 0.3 @ 1/255 under pgd", "no serious doubts"],
    }


@pytest.fixture(scope="module")
def released(striped, write_plan):
    """The first release: (what the script said, the run's folder)."""
    root, plan = striped
    (root / "summary.md").touch()
    done = gate_sh(write_plan(root, plan), root / "v1", root / "none", GITHUB_STEP_SUMMARY=str(root / "summary.md"))
    return done, root / "v1"


def test_a_release_that_keeps_its_promises_passes(released):
    done, run = released
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in run.iterdir()} >= WRITTEN
    assert "Gate passed: clean_accuracy >= 0.6 (" in done.stdout
    cases = ET.parse(run / "gate.junit.xml").findall("./testsuite[@name='radproof.gates']/testcase")
    assert len(cases) == 3 and not any(case.find("failure") is not None for case in cases)
    shown = (run.parent / "summary.md").read_text()
    assert shown == (run / "summary.md").read_text() and "all 3 passed" in shown
    assert [gate.verdict for gate in open_run(run).result.gates] == ["passed"] * 3


@pytest.fixture(scope="module")
def second(released, striped, write_plan):
    """The next release: a promise that it cannot keep, and the last release to be compared with."""
    root, plan = striped
    wanted = ["not worse than ../v1 by 0.2 @ 1/255", "attack_success <= 0.0 @ 8/255"]
    (root / "next").mkdir()
    data = {**plan["data"], "path": "../set", "patients": "../set/patients.csv"}
    path = write_plan(
        root / "next", {**plan, "data": data, "model": {"path": "../v1/model"}, "gate": wanted, "seed": 2}
    )
    return gate_sh(path, root / "v2", root / "v1"), root / "v2"


def test_a_release_that_does_not_fails_with_its_reports_written(second):
    done, run = second
    assert done.returncode == 1, done.stdout + done.stderr
    assert {path.name for path in run.iterdir()} >= WRITTEN | {"comparison.md"}
    assert "Gate passed: not worse than v1 by 0.2 @ 1/255" in done.stdout
    assert "1 of 2 gates did not pass: attack_success <= 0.0 @ 8/255 (failed)" in done.stderr
    assert str(run.parent) not in (run / "summary.md").read_text()
    log = json.loads((run / "gate.sarif").read_text())["runs"][0]
    (failed,) = [found for found in log["results"] if found["level"] == "error"]
    place = failed["locations"][0]["physicalLocation"]
    lines = (run.parent / "next" / "plan.yaml").read_text().splitlines()
    assert "attack_success" in lines[place["region"]["startLine"] - 1]
    page = (run / "comparison.md").read_text()
    assert "not the same seed: 2 and 1" in page and "| under attack | 8/255 |" in page


def test_a_comparison_gives_the_figures_of_the_runs_themselves(second):
    run = open_run(second[1])
    found = app.compare(second[1], second[1].parent / "v1")
    assert found.images == run.result.images
    for row in found.rows:
        (cell,) = [c for c in run.result.cells if (c.column, c.eps) == (row.column, row.eps)]
        assert row.a.model_dump() == (cell.robust_accuracy or cell.scores.accuracy).model_dump()
    assert found.rows[0].difference.value == 0  # the same weights


def test_a_finished_run_is_judged_again(released, radproof, tmp_path):
    _, run = released
    assert radproof("gate", run)[0] == 0
    before = (run / "result.json").read_bytes()
    files = {name: tmp_path / name for name in ("junit", "sarif", "markdown")}
    asked = ["--require", "clean_accuracy >= 1", "--require", "no serious doubts"]
    code, out, err = radproof(
        "gate", run, *asked, *(word for n, f in files.items() for word in (f"--{n}", f)), "--json"
    )
    assert code == 1 and "1 of 2 gates did not pass" in err
    assert [verdict["verdict"] for verdict in json.loads(out)] == ["failed", "passed"]
    assert all(file.is_file() for file in files.values())
    assert (run / "result.json").read_bytes() == before
    code, _, err = radproof("gate", run, "--require", "robust_accuracy >= 0.1 @ 2/255")
    assert code == 2 and "budgets are 1/255, 8/255" in err


def test_a_plan_without_promises_is_not_judged_by_the_runs_own(released, striped, write_plan, radproof, tmp_path):
    path = write_plan(tmp_path, {**striped[1], "gate": []})
    code, _, err = radproof("gate", released[1], "--plan", path)
    assert code == 2 and f"{path} promises nothing" in err


def test_new_promises_need_no_new_attacks(released, striped, write_plan, radproof, tmp_path):
    root, plan = striped
    started = open_run(released[1]).result.timing.started
    path = write_plan(root, {**plan, "gate": ["clean_accuracy >= 0.1", "not worse than nowhere by 0.1"]})
    code, _, err = radproof("assess", path, "--out", released[1], "--quiet")
    assert code == 2 and "no result.json in" in err  # said before anything is done
    assert open_run(released[1]).result.timing.started == started
    path = write_plan(root, {**plan, "gate": ["clean_accuracy >= 0.1"]})
    assert radproof("assess", path, "--out", released[1], "--quiet")[0] == 0
    assert [gate.sentence for gate in open_run(released[1]).result.gates] == ["clean_accuracy >= 0.1"]


def test_bad_gates_are_refused_when_the_plan_is_read(striped, write_plan, radproof, tmp_path):
    for sentence, why in (
        ("robust_accuracy >= 0.5 @ 4/255", "the plan's budgets are 1/255, 8/255"),
        ("robust_acuracy >= 0.5 @ 1/255", "did you mean 'robust_accuracy'"),
    ):
        code, _, err = radproof("assess", write_plan(tmp_path, {**striped[1], "gate": [sentence]}))
        assert code == 2 and sentence in err and why in err and "no serious doubts" in err


def steps(job) -> str:
    return "\n".join(str(step.get("run", "")) for step in job["steps"])


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_the_jobs_call_the_script_and_keep_what_it_writes(name):
    job = yaml.safe_load((CI / name).read_text(encoding="utf-8"))
    if name.startswith("github"):
        job = job["jobs"]["gate"]
        script = steps(job)
        kept = next(step for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
        scanned = next(step for step in job["steps"] if "upload-sarif" in step.get("uses", ""))
        assert kept["if"] == "always()" and scanned["if"].startswith("always()")
        paths = [*kept["with"]["path"].split(), scanned["with"]["sarif_file"]]
    else:
        job = job["gate"]
        script = "\n".join(job["script"])
        assert job["artifacts"]["when"] == "always"
        paths = [*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]]
    plan, run, previous = re.search(r"bash examples/ci/gate\.sh (\S+) (\S+) (\S+)", script).groups()
    assert (ROOT / plan).is_file()
    assert {Path(path).parent.as_posix() for path in paths} == {run}
    assert {Path(path).name for path in paths} == WRITTEN | {"comparison.md"}
    copied = re.search(r"cp (\S+) (\S+) previous/", script).groups()
    assert {Path(path).name for path in copied} == {"result.json", "rows.parquet"}
    assert previous == "previous" and "pip install radproof" in script


def test_the_script_says_how_it_is_called():
    done = gate_sh()
    assert done.returncode != 0 and "usage: gate.sh PLAN RUN [PREVIOUS]" in done.stderr
