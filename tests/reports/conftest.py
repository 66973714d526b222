"""A finished run as a report meets it: three classes, attacks of every kind, two budgets, a defence, two detectors."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radproof.assess.detected import BenignRow, Detection, DetectionRow, LearnedRow
from radproof.assess.result import (
    Cell,
    ClassScores,
    Network,
    PairedCheck,
    Picture,
    Result,
    Scores,
    Shortcut,
    Smallest,
    Spending,
    Spent,
    Stratum,
    Survival,
    Survived,
    Timing,
    Transfer,
    TransferCell,
    Treatment,
)
from radproof.core.records import Doubt, Estimate, canonical_json
from radproof.reports.html import render
from radproof.reports.reading import Reading

LABELS = ("Normal", "Pneumonia", "Pneumothorax")
ATTACKS = ("sia", "stm[acquisition]", "pgn", "usmm")
BUDGETS = {"1/255": 1 / 255, "4/255": 4 / 255}
BOOTSTRAP = "cluster bootstrap over patients, 2000 draws, 95 %"
EXACT = "Clopper-Pearson over patients, 95 %"


def share(value: float, n: int = 90, half: float = 0.08) -> Estimate:
    method = EXACT if value in (0.0, 1.0) else BOOTSTRAP
    return Estimate(
        value=value, low=max(0.0, value - half), high=min(1.0, value + half), method=method, n=n, patients=61
    )


def clamp(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 3)


def other(value: float, half: float, n: int = 90) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, method=BOOTSTRAP, n=n, patients=61)


def nothing(why: str = "no image of this class was answered") -> Estimate:
    return Estimate(value=None, low=None, high=None, method=why, n=0)


def scores(right: float, labels: tuple[str, ...] = LABELS) -> Scores:
    each = max(1, round(30 * right))
    wrong = 30 - each
    confusion = tuple(
        tuple(each if i == j else wrong - wrong // 2 if (i + 1) % 3 == j else wrong // 2 for j in range(3))
        for i in range(3)
    )
    return Scores(
        accuracy=share(right),
        balanced_accuracy=share(max(0.0, right - 0.01)),
        macro_precision=share(right),
        macro_recall=share(right),
        macro_f1=share(right),
        macro_auroc=share(0.45 + right / 2),
        loss=other(2 - right, 0.2),
        ece=share(0.11, half=0.03),
        missed_findings=share(round(1 - right, 3) * 0.9, 60),
        false_alarms=share(round(1 - right, 3), 30),
        per_class=tuple(
            ClassScores(
                label=label,
                images=30,
                precision=nothing() if right == 0 else share(right, 30, 0.14),
                recall=share(clamp(right + shift) if right else 0.0, 30, 0.14),
                f1=share(right, 30, 0.14),
                auroc=share(0.45 + right / 2, 30),
            )
            for label, shift in zip(labels, (0.06, -0.05, 0.01), strict=False)
        ),
        confusion=confusion,
    )


def cell(column: str, attack: str, budget: str, defense: str, made_on: str, right: float, goal: str, **more) -> Cell:
    attacked = column not in ("clean", "corruption")
    changed = BUDGETS.get(budget, 0.31)  # without a budget a pixel may change by much
    return Cell(
        key="_".join([column, attack, goal, budget.replace("/", "-"), defense, made_on]),
        column=column,
        attack=attack,
        goal=goal,
        eps=BUDGETS.get(budget, 0.0),
        budget=budget,
        defense=defense,
        made_on=made_on,
        scores=scores(right),
        robust_accuracy=share(right) if attacked else None,
        success=share(round(1 - right / 0.78, 3), 70) if column != "clean" else None,
        success_float=share(min(1.0, round(1.03 - right / 0.78, 3)), 70) if attacked else None,
        strata=tuple(
            Stratum(
                low=low,
                high=high,
                success=share(clamp(1.1 - right / 0.78 - low / 4), 23, 0.2),
            )
            for low, high in ((0.0, 0.6), (0.6, 0.9), (0.9, 1.0))
        )
        if attacked and attack != "worst"
        else (),
        confidence_drop=other(0.4 - right / 2, 0.05) if attacked else None,
        linf=other(changed, 0.0) if attacked else None,
        l2=other(1.31, 0.04) if attacked else None,
        ssim=share(0.62 if column == "corruption" else 0.981, half=0.01) if column != "clean" else None,
        psnr=other(17.2 if column == "corruption" else 41.7, 0.4) if column != "clean" else None,
        forwards=120.0 if attacked else 1.0,
        backwards=110.0 if attacked else 0.0,
        **more,
    )


def make_cells() -> tuple[Cell, ...]:
    cells = [
        cell("clean", "none", "", "none", "model", 0.78, ""),
        cell("clean", "none", "", "jpeg_tvm", "model", 0.74, ""),
    ]
    for goal, ease in (("misclassify", 0.0), ("missed-finding", 0.05)):
        for budget, base in (("1/255", 0.24), ("4/255", 0.0)):
            for k, attack in enumerate(ATTACKS):
                bare = base + ease + 0.03 * k if base else (0.0 if k < 2 else 0.03)
                cells.append(cell("oblivious", attack, budget, "none", "model", bare, goal))
                cells.append(cell("transfer", attack, budget, "none", "resnet50", bare + 0.25, goal))
                cells.append(cell("oblivious", attack, budget, "jpeg_tvm", "model", bare + 0.41, goal))
                cells.append(cell("transfer", attack, budget, "jpeg_tvm", "resnet50", bare + 0.45, goal))
            cells.append(cell("headline", "worst", budget, "none", "", base * 0.9, goal))
            for made_on in ("jpeg_tvm (identity)", "jpeg_tvm (twin)"):
                cells.append(cell("adaptive", "pgd", budget, "jpeg_tvm", made_on, base * 0.9 + 0.02, goal))
            cells.append(cell("adaptive", "square", budget, "jpeg_tvm", "jpeg_tvm", base + 0.3, goal))
            cells.append(cell("headline", "worst", budget, "jpeg_tvm", "", base * 0.8 + 0.01, goal))
    cells += make_others()
    cells.append(cell("corruption", "block_transform", "", "none", "model", 0.41, ""))
    return tuple(cells)


OTHERS = (
    ("stain_style", "style", "", "tone curve of another device, strength up to 0.6", 0.21),
    ("spatial", "spatial", "", "rotation up to 10°, shift up to 5 % of the width", 0.33),
    ("one_pixel", "l0", "", "3 pixels of any value", 0.66),
    ("adversarial_patch", "patch", "", "a square of 2.5 % of the image, anywhere outside the lungs", 0.12),
    ("low_frequency", "frequency", "4/255", "", 0.09),
)


def make_others() -> list[Cell]:
    """Threats without a budget, or with one of another kind: bare, carried over, behind a defence, and knowing it."""
    cells = []
    for attack, threat, budget, limits, right in OTHERS:
        more = {"threat": threat, "limits": limits}
        cells.append(cell("oblivious", attack, budget, "none", "model", right, "misclassify", **more))
        cells.append(cell("oblivious", attack, budget, "jpeg_tvm", "model", right + 0.1, "misclassify", **more))
    more = {"threat": "spatial", "limits": OTHERS[1][3]}
    cells.append(cell("transfer", "spatial", "", "none", "resnet50", 0.5, "misclassify", **more))
    cells.append(cell("transfer", "spatial", "", "jpeg_tvm", "resnet50", 0.55, "misclassify", **more))
    cells.append(cell("adaptive", "spatial", "", "jpeg_tvm", "jpeg_tvm (twin)", 0.31, "misclassify", **more))
    queries = {"forwards": 5000.0, "backwards": 0.0}
    return [c.model_copy(update=queries) if c.attack == "one_pixel" else c for c in cells]


NETWORKS = ("model", "resnet50", "vgg16")


def make_transfer() -> Transfer:
    """Three networks and an ensemble of two, two attacks, two budgets; at 1/255 nearly nothing carries over."""
    near = {("model", "resnet50"): 0.56, ("resnet50", "model"): 0.62, ("ensemble", "model"): 0.71}

    def success(source: str, target: str, ease: float) -> float:
        if source == target:
            return clamp(0.9 + ease)
        if source == "ensemble" and target != "model":
            return clamp(0.85 * ease)
        return clamp(near.get((source, target), 0.3) * ease)

    cells = tuple(
        TransferCell(
            source=source,
            target=target,
            attack=attack,
            goal="misclassify",
            eps=eps,
            budget=budget,
            success=share(success(source, target, ease), 48, 0.13),
        )
        for attack, more in (("sia", 1.0), ("pgn", 0.8))
        for (budget, eps), ease in zip(BUDGETS.items(), (0.1 * more, more), strict=True)
        for source in (*NETWORKS, "ensemble")
        for target in NETWORKS
    )
    described = [
        Network(name=name, architecture=architecture, accuracy=share(right))
        for name, architecture, right in zip(
            NETWORKS, ("densenet121", "resnet50", "vgg16"), (0.78, 0.8, 0.73), strict=True
        )
    ]
    described.append(Network(name="ensemble", architecture="resnet50+vgg16", accuracy=None))
    return Transfer(networks=tuple(described), images=48, cells=cells)


def make_spending() -> Spending:
    """Three attacks on the model, three carried over, one with queries alone."""
    lines = (("pgd", "model", 1.6), ("sia", "model", 1.1), ("pgn", "model", 1.15), ("sia", "resnet50", 0.42))
    lines += (("pgn", "resnet50", 0.4), ("sia", "vgg16", 0.25), ("square", "model", 0.16))
    points = tuple(
        Spent(
            attack=attack,
            made_on=made_on,
            params={"queries": cost} if attack == "square" else {"steps": cost // 10, "copies": 10},
            forwards=float(cost),
            backwards=0.0 if attack == "square" else float(cost),
            success=share(clamp(slope * (np.log10(cost) - 0.5) / 2), 48, 0.13),
        )
        for attack, made_on, slope in lines
        for cost in ((100, 1000, 5000) if attack == "square" else (10, 30, 100, 300))
    )
    return Spending(goal="misclassify", eps=4 / 255, budget="4/255", images=48, points=points)


TREATMENTS = (
    ("jpeg-90", "JPEG, quality 90"),
    ("jpeg-75", "JPEG, quality 75"),
    ("jpeg2000", "JPEG 2000, 10 to 1"),
    ("resize-half", "halved and doubled in size"),
    ("blur", "slight blur"),
    ("window", "lung window"),
    ("noise", "scanner noise"),
    ("print", "printed and scanned"),
)


def make_survival() -> Survival:
    rows = tuple(
        Survived(
            attack=attack,
            goal="misclassify",
            eps=BUDGETS.get(budget, 0.0),
            budget=budget,
            treatment=name,
            success=share(clamp(0.95 - 0.09 * k - 0.05 * i), 61, 0.1),
        )
        for i, (attack, budget) in enumerate((("sia", "1/255"), ("sia", "4/255"), ("pgn", "4/255"), ("spatial", "")))
        for k, (name, _) in enumerate(TREATMENTS)
    )
    treatments = tuple(
        Treatment(name=name, title=title, clean_accuracy=share(clamp(0.78 - 0.02 * k)))
        for k, (name, title) in enumerate(TREATMENTS)
    )
    return Survival(treatments=treatments, rows=rows)


def detection(name: str, seen: float) -> Detection:
    rows = tuple(
        DetectionRow(
            detector=name,
            attack=attack,
            budget=budget,
            eps=eps,
            positives="successful",
            auroc=share(0.5 + seen / 2.2 + 0.02 * k, 70),
            detected=share(seen + 0.05 * k, 70),
            undetected_success=share(0.95 - seen - 0.05 * k, 90),
            roc=tuple((i / 30, min(1.0, (i / 30) ** (1 - 0.8 * seen))) for i in range(31)),
        )
        for budget, eps in BUDGETS.items()
        for k, attack in enumerate(ATTACKS)
    )
    return Detection(
        detector=name,
        threshold=0.31,
        promised_rate=0.05,
        calibration_images=120,
        achieved_rate=share(0.067, half=0.05),
        rows=rows,
    )


def known_detection(name: str, seen: float) -> Detection:
    """The same with all that a detector can be asked: strict thresholds, harmless changes, and who knows it."""
    plain = detection(name, seen)
    strict = {"success": share(0.95, 90), "at_5": share(seen, 70), "at_1": share(seen / 2, 70)}
    rows = [row.model_copy(update=strict) for row in plain.rows]
    for k, (budget, eps) in enumerate(BUDGETS.items()):
        own = {"attack": "evasion", "kind": "aware", "budget": budget, "eps": eps, "success": share(0.7 - 0.1 * k, 90)}
        passed = {"detected": share(0.2 + 0.1 * k, 60), "undetected_success": share(0.56 - 0.14 * k, 90)}
        rows.append(rows[0].model_copy(update={**own, **passed}))
    least = {"attack": "smallest", "kind": "smallest", "budget": "", "eps": 0.0, "detected": share(0.36, 16)}
    rows.append(rows[0].model_copy(update=least))
    return plain.model_copy(
        update={
            "rows": tuple(rows),
            "likely_low": 0.019,
            "likely_high": 0.094,
            "covers": ("clean", "jpeg-90"),
            "benign": tuple(
                BenignRow(change=change, title=title, flagged=share(alarms, half=0.04), accuracy=share(0.77))
                for (change, title), alarms in zip(
                    TREATMENTS, (0.06, 0.08, 0.1, 0.05, 0.31, 0.07, 0.12, 0.5), strict=True
                )
            ),
            "learned": tuple(
                LearnedRow(
                    trained_with=tuple(a for a in ATTACKS if a != left_out),
                    attack=left_out,
                    budget="4/255",
                    auroc=share(0.91, 70),
                    detected=share(0.66, 70),
                )
                for left_out in ATTACKS
            ),
        }
    )


DOUBTS = (
    Doubt(
        kind="shortcut",
        about="all",
        message="A thumbnail alone reaches AUROC 0.79 (0.72–0.85); the model's does not clear it.",
    ),
    Doubt(
        kind="gradient-masking",
        about="defense:jpeg_tvm",
        message="Square, which needs no gradient, beats PGD through jpeg_tvm at 1/255 by 6 points.",
    ),
    Doubt(
        kind="few-images",
        about="detector:frequency",
        message="Only 19 clean images calibrate the threshold for 5 %.",
        severity="note",
    ),
    Doubt(
        kind="one-batch",
        about="smallest",
        message="The smallest budgets come from 16 images of one batch.",
        severity="note",
    ),
)

HISTORY = [
    {
        "epoch": e,
        "stage": "head" if e <= 4 else "fine",
        "train_loss": 1.1 * 0.88**e,
        "train_accuracy": 0.4 + 0.035 * e,
        "validation_loss": 1.1 * 0.9**e + 0.05,
        "validation_accuracy": 0.4 + 0.03 * e,
        "validation_auroc": 0.6 + 0.022 * e,
        "lr": 1e-3 if e <= 4 else 1e-5,
    }
    for e in range(1, 13)
]


def draw(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:160j, -1:1:160j]
    body = 0.75 - 0.45 * (((np.abs(x) - 0.4) / 0.3) ** 2 + (y / 0.65) ** 2 < 1)
    image = 255 * np.clip(body + 0.02 * rng.standard_normal(body.shape), 0, 1)
    if kind == "difference":
        return (128 + 100 * np.sign(rng.standard_normal(body.shape))).astype(np.uint8)
    if kind.startswith("cam"):
        heat = np.exp(-8 * ((x - (0.4 if kind == "cam_before" else -0.3)) ** 2 + (y - 0.2) ** 2))
        red, green, blue = image * (1 - heat / 2) + 127 * heat, image * (1 - heat / 2), image * (1 - heat)
        return np.stack([red, green, blue], -1).astype(np.uint8)
    return image.astype(np.uint8)


def make_gallery(run: Path, rows: int = 2) -> tuple[Picture, ...]:
    pictures = []
    for i in range(rows):
        files = {}
        for kind in ("original", "attacked", "defended", "difference", "cam_before", "cam_after"):
            files[kind] = f"gallery/{i}_{kind}.png"
            (run / "gallery").mkdir(exist_ok=True, parents=True)
            Image.fromarray(draw(kind, i)).save(run / files[kind])
        pictures.append(
            Picture(
                sample=f"{i:016x}",
                truth=LABELS[1 + i % 2],
                attack=ATTACKS[i % 4],
                budget="4/255",
                clean_answer=LABELS[1 + i % 2],
                clean_confidence=0.93,
                attacked_answer="Normal",
                attacked_confidence=0.998,
                defended_answer=LABELS[1 + i % 2],
                defended_confidence=0.61,
                defense="jpeg_tvm",
                files=files,
            )
        )
    return tuple(pictures)


def make_result(run: Path, rows: int = 2) -> Result:
    stored = [1 / 255] * 9 + [2 / 255] * 6 + [None]
    in_float = [0.0004 * (k + 2) for k in range(15)] + [None]
    return Result(
        name="demo",
        title="DenseNet121 on chest radiographs, release 4",
        verdict="Changes of at most 4 of 255 grey levels turn every answer wrong; JPEG+TVM does not prevent it.",
        phantom=True,
        labels=LABELS,
        head="softmax",
        images=90,
        patients=61,
        resolution="160x160",
        preset="quick",
        data={
            "kind": "phantom",
            "counts": {
                "train": {"Normal": 140, "Pneumonia": 139, "Pneumothorax": 141},
                "test": {"Normal": 30, "Pneumonia": 30, "Pneumothorax": 30},
            },
            "left_out": {"unreadable": 0},
            "path": "/home/someone/images",
        },
        model={
            "architecture": "densenet121",
            "parameters": 7300675,
            "input_size": 224,
            "normalisation": {"mean": [0.485], "std": [0.229]},
            "sha256": "ab" * 32,
        },
        training={
            "history": HISTORY,
            "best_epoch": 11,
            "recipe": {"lr": 1e-5, "augment": {"rotation": 10.0, "flip": False}},
        },
        audit={
            "patient_overlap": 0,
            "duplicates": [],
            "near_duplicates": [{"a": "00aa", "b": "00bb", "distance": 3}],
            "passed": True,
        },
        cells=make_cells(),
        smallest=Smallest(
            attack="pgd",
            images=16,
            median_float=Estimate(value=0.0035, low=0.002, high=0.0045, method=BOOTSTRAP, n=16, patients=16),
            median_stored=Estimate(value=1 / 255, low=1 / 255, high=2 / 255, method=BOOTSTRAP, n=16, patients=16),
            float_budgets=tuple(in_float),
            stored_budgets=tuple(stored),
            most=16 / 255,
        ),
        transfer=make_transfer(),
        spending=make_spending(),
        survival=make_survival(),
        detection=(detection("frequency", 0.32), known_detection("feature_squeezing", 0.55)),
        paired=tuple(
            PairedCheck(attack=a, budget="4/255", flagged=share(1.0), flagged_without_label_rule=share(0.9))
            for a in ATTACKS
        ),
        shortcuts=(
            Shortcut(name="thumbnail", auroc=share(0.79), accuracy=share(0.6)),
            Shortcut(name="file_size", auroc=share(0.55), accuracy=share(0.37)),
        ),
        by_view={"PA": share(0.8, 60), "AP": share(0.73, 30), "balanced": share(0.765)},
        gallery=make_gallery(run, rows),
        doubts=DOUBTS,
        plan={
            "name": "demo",
            "seed": 0,
            "data": {"kind": "phantom", "count": 600, "path": "/home/someone/images"},
            "attacks": [{"name": a, "params": {}} for a in ATTACKS],
            "budgets": list(BUDGETS.values()),
        },
        provenance={
            "radproof": "0.1.0",
            "torch": "2.15.0",
            "device": "cpu",
            "threads": 2,
            "plan": "cd" * 32,
            "model": "ef" * 32,
        },
        timing=Timing(
            started="2026-11-21T13:00:00Z",
            seconds=734.2,
            cells={c.key: 0.42 for c in make_cells()},
            memory={c.key: 212.4 for c in make_cells() if c.attack == "sia"},
            stages={"training": 201.0, "attacks": 480.0, "detection": 31.0},
        ),
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder; for reading only."""
    run = tmp_path_factory.mktemp("run")
    (run / "result.json").write_text(canonical_json(make_result(run)), encoding="utf-8")
    return run


@pytest.fixture(scope="session")
def result(finished: Path) -> Result:
    return Result.model_validate_json((finished / "result.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def page(result: Result, finished: Path) -> str:
    """The report as HTML."""
    return render(result, finished)


@pytest.fixture
def reading(result: Result) -> Reading:
    return Reading(result)


# Elements wider than their box, but for boxes that scroll by design.
SPILLING = """() => [...document.querySelectorAll('body, body *')]
  .filter(e => !e.closest('svg') && !e.closest('.scroll') && getComputedStyle(e).position !== 'absolute')
  .filter(e => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)
  .map(e => `${e.tagName}.${e.className} ${e.scrollWidth} > ${e.clientWidth}: ${e.textContent.trim().slice(0, 40)}`)"""

# Text whose contrast with what lies behind it is under 4.5 to 1 (WCAG AA); half-clear colours are laid over each other.
FAINT = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number)
  const over = (a, b) => { const t = a[3] ?? 1; return [0, 1, 2].map(i => a[i] * t + b[i] * (1 - t)) }
  const behind = e => {
    const layers = []
    for (let p = e; p; p = p.parentElement) layers.push(parse(getComputedStyle(p).backgroundColor))
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255])
  }
  const light = c => {
    const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const said = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
  return [...document.querySelectorAll('body *')].filter(said).map(e => {
    const style = getComputedStyle(e), back = behind(e)
    const ink = over(parse(e.closest('svg') ? style.fill : style.color), back)
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x)
    return [(a + 0.05) / (b + 0.05), `${e.tagName}.${e.getAttribute('class')} ${e.textContent.trim().slice(0, 30)}`]
  }).filter(([ratio]) => ratio < 4.5)
}"""


class Elements(HTMLParser):
    """Every element with its attributes, and the text in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="session")
def elements():
    """Reads a page: its elements with their attributes, and its text."""
    return Elements


@pytest.fixture(scope="session")
def asks():
    """What to ask a page in a browser: which elements spill, which text is faint."""
    return {"spilling": SPILLING, "faint": FAINT}


@pytest.fixture(scope="module")
def browser(chromium):
    return chromium
