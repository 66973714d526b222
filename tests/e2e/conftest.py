"""A small data set, a small model and one finished run, made once for all end-to-end tests."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.once import once as made_once

from radproof import app
from radproof.cli import main
from radproof.training.recipe import TrainingRecipe

# Probes take most of a small run. What they find is tested in tests/assess, and test_gate.py runs them as shipped.
SHORT = {
    "radproof.assess.bench.STEPS": (2, 2),
    "radproof.assess.bench.LONGER": (3, 3),
    "radproof.assess.bench.HUGE_STEPS": 2,
    "radproof.assess.bench.QUERIES": 5,
    "radproof.assess.probes.LEAST": 5,
}
SHORTENED = f"""
import radproof.assess.probes
{"; ".join(f"{name} = {value}" for name, value in SHORT.items())}
from radproof.cli import main
main()
"""

PLAN = {
    "name": "small",
    "seed": 3,
    "data": {"kind": "folder", "path": "set", "patients": "set/patients.csv", "images": 12},
    "model": {
        "train": {
            "architecture": "cxrnet",
            "input_size": 32,
            "hidden": 0,
            "dropout": 0.0,
            "head_epochs": 0,
            "epochs": 5,
            "batch": 16,
            "unfreeze": "all",
            "lr": 0.003,
            "precision": "fp32",
        }
    },
    "attacks": ["fgsm", {"name": "pgd", "steps": 3}, {"name": "sia", "steps": 2, "copies": 2}],
    "budgets": ["1/255", "8/255"],
    "defenses": ["jpeg_tvm"],
    "adaptive": [{"name": "pgd", "steps": 2}, {"name": "square", "queries": 5}],
    "detectors": ["frequency"],
    "corruptions": ["block_transform"],
    "smallest": {"rounds": 2, "steps": 2, "images": 6},
    "false_positive_rate": 0.1,
    "precision": "fp32",
    "batch": 5,
    "bootstrap": 100,
    "gallery": 2,
}


def _draw_set(root: Path) -> Path:
    """A folder per class, 20 images of 20 patients each: a light patch left, a dark one right, or none."""
    rng = np.random.default_rng(0)
    rows = ["path,patient,view"]
    for label, columns, change in (
        ("Normal", 0, 0),
        ("Pneumonia", slice(4, 14), 60),
        ("Pneumothorax", slice(18, 28), -60),
    ):
        (root / label).mkdir(parents=True)
        for n in range(20):
            grey = rng.normal(120, 12, (32, 32))
            if change:
                top = int(rng.integers(2, 18))
                grey[top : top + 10, columns] += change
            Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(root / label / f"{n}.png")
            rows.append(f"{label}/{n}.png,{label}-{n},{'AP' if n % 3 else 'PA'}")
    (root / "patients.csv").write_text("\n".join(rows))
    return root


def _draw_release(root: Path) -> Path:
    """A release as NIH packs it, of 60 patients: a light patch is an effusion, a dark one a mass."""
    rng = np.random.default_rng(1)
    (root / "images").mkdir(parents=True)
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    lines = [header + "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"]
    names = []
    for n in range(60):
        findings = [name for name, has in (("Effusion", n % 2), ("Mass", n % 3 == 0)) if has]
        grey = rng.normal(120, 12, (32, 32))
        grey[4:14, 4:14] += 40 * (n % 2)
        grey[18:28, 18:28] -= 40 * (n % 3 == 0)
        names.append(f"{n:08d}_000.png")
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(root / "images" / names[-1])
        lines.append(f"{names[-1]},{'|'.join(findings) or 'No Finding'},0,{n},50,F,{'PA' if n % 4 else 'AP'},32,32,1,1")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines))
    (root / "train_val_list.txt").write_text("\n".join(names[:45]))
    (root / "test_list.txt").write_text("\n".join(names[45:]))
    return root


@pytest.fixture(scope="session")
def draw_set():
    """Draw a set like the small plan's."""
    return _draw_set


@pytest.fixture(scope="session")
def draw_release():
    """Draw a small release with several findings per image."""
    return _draw_release


@pytest.fixture(scope="session")
def other_model(tmp_path_factory, plan):
    """A model of the same classes with other weights."""
    data = {key: value for key, value in plan["data"].items() if key in ("path", "patients")}
    manifest = app.open_path(Path(data["path"]), patients=data["patients"])
    recipe = TrainingRecipe.model_validate({**plan["model"]["train"], "seed": 9, "epochs": 3})
    folder = tmp_path_factory.mktemp("other") / "model"
    app.train(manifest, recipe, folder)
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Make a folder of this name once for all workers: (name, what fills it) -> the folder."""
    return partial(made_once, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def dataset(once) -> Path:
    """The folder of images that the small plan assesses."""
    return once("data", lambda folder: _draw_set(folder / "set")) / "set"


@pytest.fixture(scope="session")
def plan(dataset):
    """The plan as a mapping; copy before you change it."""
    data = {**PLAN["data"], "path": str(dataset), "patients": str(dataset / "patients.csv")}
    return {**PLAN, "data": data}


@pytest.fixture(scope="session")
def write_plan():
    """Write a plan as YAML and return its path."""

    def write(folder: Path, plan) -> Path:
        path = folder / "plan.yaml"
        path.write_text(yaml.safe_dump(plan))
        return path

    return write


@pytest.fixture(autouse=True, scope="module")
def _short_probes():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setattr(name, value)
        yield


@pytest.fixture
def radproof(monkeypatch, capsys):
    """The command, run in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = _called(monkeypatch, arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def _called(patch: pytest.MonkeyPatch, arguments: tuple[object, ...]) -> int:
    patch.setattr(sys, "argv", ["radproof", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return 0


@pytest.fixture(scope="session")
def done():
    """Run the command in this process, with short probes, for what several tests share; what it printed."""

    def run(*arguments: object, folder: Path | None = None) -> str:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            if folder:
                patch.chdir(folder)
            for name, value in SHORT.items():
                patch.setattr(name, value)
            code = _called(patch, arguments)
        assert code == 0, err.getvalue()
        return out.getvalue() + err.getvalue()

    return run


@pytest.fixture(scope="session")
def command():
    """The command as a process of its own, with one thread as these tests have; short: with short probes."""

    def start(*arguments: object, environment=os.environ, short=False) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, *(("-c", SHORTENED) if short else ("-m", "radproof")), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
        )

    return start


@pytest.fixture(scope="session")
def finished(once, plan, write_plan, done):
    """The folder of a finished run; to be read, not changed."""

    def fill(folder: Path) -> None:
        (folder / "printed.txt").write_text(done("assess", write_plan(folder, plan), "--out", folder / "run"))

    return once("finished", fill) / "run"
