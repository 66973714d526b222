"""Cells and evidence made by hand, and small assessments of contenders made by hand."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from radproof.assess.answers import collect, worst_groups
from radproof.assess.baselines import shortcuts
from radproof.assess.batches import run_batch
from radproof.assess.checks import noise_accuracy, run_checks
from radproof.assess.doubts import Evidence, doubts
from radproof.assess.jobs import list_jobs
from radproof.assess.opening import open_material
from radproof.assess.parts import settle_all
from radproof.assess.plan import make_plan
from radproof.assess.plan_checks import check_parts
from radproof.assess.probed import Contest, Probed
from radproof.assess.probed import probed as probed_figures
from radproof.assess.result import Cell, ClassScores, Scores
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Workspace
from radproof.attacks import attack
from radproof.core.progress import SILENT
from radproof.core.records import Doubt, Estimate
from radproof.data.audit import audit
from radproof.data.findings import Audit
from radproof.data.load import load_images
from radproof.data.phantom import draw
from radproof.models.preflight import preflight


def estimate(value, half=0.05, n=100):
    if value is None:
        return Estimate(value=None, low=None, high=None, method="nothing to measure", n=0)
    return Estimate(value=value, low=value - half, high=value + half, method="bootstrap", n=n, patients=n)


def make_cell(**given) -> Cell:
    """A cell; accuracy, auroc, robust, success and success_float are numbers, made into estimates."""
    accuracy, auroc = estimate(given.pop("accuracy", 0.9)), estimate(given.pop("auroc", 0.95))
    robust, success, loose = (given.pop(name, None) for name in ("robust", "success", "success_float"))
    half, patients = given.pop("half", 0.05), given.pop("patients", 100)
    one = ClassScores(
        label="Normal", images=50, precision=accuracy, recall=estimate(0.9, n=patients), f1=accuracy, auroc=auroc
    )
    scores = Scores(
        accuracy=accuracy,
        balanced_accuracy=accuracy,
        macro_precision=accuracy,
        macro_recall=accuracy,
        macro_f1=accuracy,
        macro_auroc=auroc,
        loss=accuracy,
        ece=accuracy,
        missed_findings=None,
        false_alarms=None,
        per_class=(one,),
        confusion=None,
    )
    about = {"column": "oblivious", "attack": "pgd", "goal": "misclassify", "eps": 4 / 255, "defense": "none"} | given
    about |= {"budget": f"{round(about['eps'] * 255)}/255" if about["eps"] else "", "made_on": "model"}
    return Cell(
        key=" | ".join(str(about[k]) for k in ("column", "attack", "goal", "budget", "defense")),
        scores=scores,
        robust_accuracy=None if robust is None else estimate(robust, half),
        success=None if success is None else estimate(success, half),
        success_float=None if loose is None else estimate(loose, half),
        strata=(),
        confidence_drop=None,
        linf=None,
        l2=None,
        ssim=None,
        psnr=None,
        forwards=10,
        backwards=10,
        **about,
    )


CLEAN = {"column": "clean", "attack": "none", "goal": "", "eps": 0}


@pytest.fixture
def cell():
    """Make a cell."""
    return make_cell


@pytest.fixture
def clean():
    """Make the cell of clean images."""
    return lambda **given: make_cell(**{**CLEAN, "robust": given.get("accuracy", 0.9), **given})


@pytest.fixture
def measured():
    """Make an estimate."""
    return estimate


def contest(one, other, low=None):
    """Two accuracies and their paired difference, with an interval of ±5 points unless its low end is given."""
    gain = estimate(one - other)
    gain = gain if low is None else gain.model_copy(update={"low": low})
    return Contest(estimate(one), estimate(other), gain)


@pytest.fixture
def versus():
    """Make a contest."""
    return contest


@pytest.fixture
def probed():
    """What the probes find of a sound contender, but for what is given."""

    def make(**given):
        sound = {
            "name": "jpeg",
            "random": False,
            "eot": 8,
            "budget": "8/255",
            "steps": 10,
            "clean": estimate(0.9),
            "absent": estimate(0.0),
            "dead": estimate(0.0),
            "broken": estimate(0.0),
            "one_step": contest(0.2, 0.3),
            "margin": contest(0.2, 0.21),
            "square": contest(0.2, 0.2),
            "longer": contest(0.2, 0.19),
            "noise": contest(0.9, 0.88),
            "attacked": contest(0.9, 0.2),
            "huge": estimate(0.0, 0),
            "rose": estimate(1.0, 0),
            "rising": 0.8,
            "apart": 0.0,
            "alone": 0.0,
            "variance": 0.0,
            "agreement": estimate(None),
            "probabilities": False,
            "constant": False,
        }
        return Probed(**sound | given)

    return make


@pytest.fixture
def evidence():
    """Evidence without anything to doubt, but for what is given."""

    def make(*cells, **given):
        fingerprint, patient = given.pop("fingerprint", "same"), given.pop("patient", "p")
        material = SimpleNamespace(
            plan=SimpleNamespace(
                data=SimpleNamespace(fold=given.pop("fold", "test")),
                model=SimpleNamespace(train=given.pop("train", None), only_answers=given.pop("only_answers", False)),
                hardened={},
            ),
            card=given.pop(
                "card", SimpleNamespace(data_fingerprint="same", notes=(), imported="", metrics={}, file="")
            ),
            model=given.pop("model", None),
            surrogates=given.pop("surrogates", {}),
            problem=given.pop("problem", ""),
            untaught=given.pop("untaught", ""),
            manifest=SimpleNamespace(fingerprint=lambda: fingerprint, source=given.pop("source", {})),
            test=SimpleNamespace(
                samples=[SimpleNamespace(patient=patient, view=view) for view in given.pop("views", [""])]
            ),
        )
        nothing = dict.fromkeys(
            (
                "shared_patients",
                "twins",
                "augmented",
                "augmented_outside_training",
                "unreadable",
                "changed",
                "constant",
            ),
            (),
        )
        audit = Audit(images=1, patients=1, folds={"test": 1}, without_patient=0, **nothing | given.pop("audit", {}))
        usual = {
            "detection": (),
            "shortcuts": (),
            "noise": {},
            "preflight": (),
            "halvings": 0,
        }
        return Evidence(material=material, cells=cells, audit=audit, **usual | given)

    return make


LABELS = ("Normal", "Pneumonia", "Pneumothorax")
PATCHES = {
    "name": "patches",
    "seed": 3,
    "model": {"train": {"architecture": "cxrnet", "input_size": 16, "head_epochs": 0, "epochs": 0, "hidden": 0}},
    "attacks": [{"name": "pgd", "steps": 5}],
    "budgets": ["16/255"],
    "adaptive": [{"name": "pgd", "steps": 5}],
    "smallest": None,
    "survival": False,
    "precision": "fp32",
    "device": "cpu",
    "batch": 12,
    "eot": 4,
    "bootstrap": 200,
    "gallery": 0,
}


def with_patch(image, label, contrast):
    """A healthy chest with the sign of its class."""
    grey, unit = image.astype(float), len(image) // 32
    if label == "Pneumonia":
        grey[6 * unit : 18 * unit, 3 * unit : 15 * unit] += contrast
    if label == "Pneumothorax":
        grey[6 * unit : 18 * unit, 17 * unit : 29 * unit] -= contrast
    return grey.clip(0, 255).astype(np.uint8)


def draw_patches(root, size, contrast):
    """A folder per class, 60 phantoms of 60 patients each."""
    for label in LABELS:
        (root / label).mkdir(parents=True)
    for n, phantom in enumerate(draw("Normal", size=size, seed=1, patient=n) for n in range(180)):
        label = LABELS[n % 3]
        Image.fromarray(with_patch(phantom.image, label, contrast)).save(root / label / f"p{n}.png")
    rows = [f"{LABELS[n % 3]}/p{n}.png,{n},{'PA' if n % 2 else 'AP'}" for n in range(180)]
    (root / "patients.csv").write_text("\n".join(["path,patient,view", *rows]))
    return root


def fit(model, images, y, *, epochs=12, smoothing=0.1):
    """A training of two seconds; label smoothing keeps margins at a few logits."""
    rng = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.requires_grad_(True).parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=rng).split(18):
            model.train()
            loss = torch.nn.functional.cross_entropy(model(images[rows]), y[rows], label_smoothing=smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.freeze()


@pytest.fixture(scope="session")
def learnt(tmp_path_factory):
    """Opened material with a trained network: nothing answers in its place yet."""

    def open_(size=32, contrast=50, **changes):
        root = tmp_path_factory.mktemp("patches")
        folder = draw_patches(root / "set", size, contrast)
        data = {"kind": "folder", "path": str(folder), "patients": str(folder / "patients.csv")}
        plan = make_plan({**PATCHES, "data": data, **changes}, base=root)
        material = open_material(plan, check_parts(plan), root / "run", torch.device("cpu"), SILENT)
        train = material.manifest.fold("train")
        images = torch.stack(list(load_images(train.samples, train.root).images))
        fit(material.model, images, torch.as_tensor(train.targets()))
        material.model.micro_batch = 64
        return material

    return open_


@pytest.fixture(scope="session")
def patches(learnt):
    """Phantoms of 32 pixels with clear patches."""
    return learnt()


@dataclass(frozen=True)
class Crashed:
    """What one assessment of given contenders found."""

    cells: tuple[Cell, ...]
    doubts: tuple[Doubt, ...]


@pytest.fixture(scope="session")
def crash(tmp_path_factory):
    """Attack, probe and doubt given contenders as a run does."""

    def run(material, contenders, *, probes=True):
        adaptive = settle_all(material.plan.adaptive, attack, material.plan.preset)
        material = replace(material, contenders=contenders, parts=replace(material.parts, adaptive=adaptive))
        space = Workspace(tmp_path_factory.mktemp("crash"))
        jobs = list_jobs(material.plan, material.parts, contenders)
        for job in jobs:
            for batch in range(len(material.batches)):
                space.save(job.key, batch, run_batch(material, job, batch, space.root, "fp32"))
        measurer = Measurer(material)
        found = collect(space, material, jobs)
        cells = tuple(measurer.cell(a) for a in (*found, *worst_groups(found)))
        if not probes:
            return Crashed(cells, ())
        run_checks(material, space, SILENT)
        rows = list(material.batches[0])
        told = doubts(
            Evidence(
                material=material,
                cells=cells,
                detection=(),
                shortcuts=shortcuts(material.manifest, material.test, measurer.resampler(range(len(material.test)))),
                audit=audit(material.manifest),
                halvings=0,
                noise=noise_accuracy(material, space, measurer),
                preflight=preflight(
                    material.model, material.images(rows), material.y[rows], material.manifest.labels, "softmax"
                ),
                probed=probed_figures(material, space, measurer),
            )
        )
        return Crashed(cells, told)

    return run
