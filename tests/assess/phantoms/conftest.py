"""Phantoms of 48 pixels: a network that learnt them, and one that learnt them under attack. A minute of training."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from radproof.assess.opening import open_material
from radproof.assess.plan import make_plan
from radproof.assess.plan_checks import check_parts
from radproof.core.files import sha256_file
from radproof.core.progress import SILENT
from radproof.data.load import load_images
from radproof.data.manifest import Manifest, Sample
from radproof.data.phantom import LABELS, phantoms

FOLDS = {"train": (900, 1), "validation": (30, 3), "test": (300, 2)}  # phantoms and the seed of their patients
NETWORK = {"architecture": "cxrnet", "input_size": 48, "head_epochs": 0, "epochs": 0, "hidden": 0, "dropout": 0.0}
PLAN = {
    "name": "phantoms",
    "model": {"train": NETWORK},
    "attacks": [{"name": "pgd", "steps": 10}],
    "budgets": ["1/255", "2/255"],
    "adaptive": [{"name": "pgd", "steps": 10}],
    "smallest": None,
    "survival": False,
    "precision": "fp32",
    "device": "cpu",
    "batch": 50,
    "bootstrap": 500,
    "gallery": 0,
}


def drawn(root):
    """A manifest of phantoms with the folds above."""
    samples = []
    for fold, (count, seed) in FOLDS.items():
        (root / fold).mkdir(parents=True)
        for n, phantom in enumerate(phantoms(count, size=48, seed=seed)):
            path = root / fold / f"{n}.png"
            Image.fromarray(phantom.image).save(path)
            about = {"view": phantom.view, "age": phantom.age, "sex": phantom.sex, "size": path.stat().st_size}
            where = {"id": f"{fold}{n:04d}", "path": f"{fold}/{n}.png", "patient": f"{fold}-{phantom.patient}"}
            samples.append(Sample(**where, labels=(phantom.label,), fold=fold, sha256=sha256_file(path), **about))
    manifest = Manifest(root, LABELS, tuple(samples), "softmax", {"kind": "phantom", "split": "patient"})
    manifest.write(root / "manifest.parquet")
    return root


def learn(model, images, y, *, epochs, rate, eps=0.0):
    """One cycle of AdamW; with eps on images of a single random step (Wong et al. 2020)."""
    rng = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.requires_grad_(True).parameters(), lr=rate, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * len(y) // 50)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=rng).split(50):
            x = images[rows]
            if eps:
                delta = ((torch.rand(x.shape, generator=rng) * 2 - 1) * eps).requires_grad_()
                (slope,) = torch.autograd.grad(F.cross_entropy(model.eval()(x + delta), y[rows]), delta)
                x = (x + (delta.detach() + 1.25 * eps * slope.sign()).clamp(-eps, eps)).clamp(0, 1)
            loss = F.cross_entropy(model.train()(x), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
    return model.freeze()


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Opened material with a network that learnt the phantoms, and the training fold."""
    root = tmp_path_factory.mktemp("phantoms")
    plan = make_plan({**PLAN, "data": {"kind": "manifest", "path": str(drawn(root / "set"))}}, base=root)
    material = open_material(plan, check_parts(plan), root / "run", torch.device("cpu"), SILENT)
    train = material.manifest.fold("train")
    fold = torch.stack(list(load_images(train.samples, train.root).images)), torch.as_tensor(train.targets())
    learn(material.model, *fold, epochs=10, rate=3e-3)
    material.model.micro_batch = 50
    return material, fold


@pytest.fixture(scope="session")
def learn_under_attack():
    """Go on training a network, at 2/255."""
    return lambda model, images, y: learn(model, images, y, epochs=6, rate=2e-3, eps=2 / 255)
