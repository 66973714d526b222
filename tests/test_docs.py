# SPDX-License-Identifier: Apache-2.0
"""What the documentation says is true: keys, defaults, commands, options, links, plans and examples."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import BaseModel
from typer.main import get_command

from radproof import __version__
from radproof.assess.plan import Plan, make_plan
from radproof.assess.sections import (
    CertifyPlan,
    DataPlan,
    DetectionPlan,
    EndpointPlan,
    HardenedPlan,
    LearnedPlan,
    ModelPlan,
    SmallestPlan,
    SpendingPlan,
    SurrogatePlan,
)
from radproof.attacks import registry
from radproof.attacks.metered import Metered
from radproof.core.goals import GOALS, Misclassify
from radproof.core.params import show_fraction
from radproof.core.registry import Registry
from radproof.models.card import ModelCard
from radproof.training.denoiser_recipe import DenoiserRecipe
from radproof.training.hardening import AdversarialRecipe, DistillRecipe
from radproof.training.recipe import AugmentRecipe, TrainingRecipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").rglob("*.md")])
PROSE = [page for page in PAGES if page.name != "results-nih.md" and page.parent.name != "reference"]
PLANS = sorted((ROOT / "examples" / "plans").glob("*.yaml"))
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
SECTIONS = {
    "The plan": Plan,
    "`data`": DataPlan,
    "`model`": ModelPlan,
    "`model.endpoint`": EndpointPlan,
    "`model.train`": TrainingRecipe,
    "`model.train.augment`": AugmentRecipe,
    "`model.train.adversarial`": AdversarialRecipe,
    "`model.train.distill`": DistillRecipe,
    "`surrogates`": SurrogatePlan,
    "`hardened`": HardenedPlan,
    "`hardened.denoiser`": DenoiserRecipe,
    "`spending`": SpendingPlan,
    "`certify`": CertifyPlan,
    "`detection`": DetectionPlan,
    "`detection.learned`": LearnedPlan,
    "`smallest`": SmallestPlan,
}


def ids(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def section(page: Path, title: str) -> str:
    """The text below a heading of the second level, up to the next."""
    parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row but the head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks in a language, "" for none."""
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [body for name, body in fenced if name == language]


def outside_code(page: Path) -> str:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "`code`", text)


# Plans


def said(field: Any) -> str:
    """A default as docs/howto/plans.md writes it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "none"
    if isinstance(default, BaseModel):
        return "on"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return f"[{', '.join(map(str, default))}]"
    if isinstance(default, float):
        return show_fraction(default) if default in (1 / 255, 2 / 255, 8 / 255, 16 / 255) else f"{default:g}"
    return str(default) or "empty"


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_of_a_plan_and_its_default_are_documented(title):
    told = {
        cells[0].strip("`"): cells[1].strip("`") for cells in rows(section(ROOT / "docs" / "howto" / "plans.md", title))
    }
    assert told == {name: said(field) for name, field in SECTIONS[title].model_fields.items()}


def test_every_goal_is_documented():
    told = {cells[0].strip("`") for cells in rows(section(ROOT / "docs" / "howto" / "plans.md", "Goals"))}
    assert told == set(GOALS)


@pytest.mark.parametrize("path", PLANS, ids=ids(PLANS))
def test_example_plans_are_valid(path):
    plan = make_plan(yaml.safe_load(path.read_text(encoding="utf-8")), base=path.parent)
    assert plan.name == path.stem


def yaml_blocks() -> Iterator[tuple[str, dict[str, Any]]]:
    for page in PROSE:
        for number, body in enumerate(blocks(page, "yaml")):
            yield f"{page.relative_to(ROOT)}:{number}", yaml.safe_load(body)


@pytest.mark.parametrize(("where", "raw"), [pytest.param(*found, id=found[0]) for found in yaml_blocks()])
def test_yaml_in_the_pages_is_valid(where, raw):
    if {"architecture", "labels"} <= raw.keys():
        ModelCard.model_validate(raw)
        return
    if "architecture" in raw:
        TrainingRecipe.model_validate(raw)
        return
    needed = {"data": {"kind": "phantom"}, "model": {"path": "m"}, "attacks": ["pgd"], "budgets": ["1/255"]}
    plan = make_plan(needed | raw, base=Path())
    if "attacks" in raw and not {"data", "model"} <= raw.keys():  # a piece that shows ways to write the same thing
        assert {part.name for part in plan.attacks} - {"foreign[torchattacks]"} == {"sia"}


# Commands


def commands() -> dict[str, Any]:
    """'data audit' -> the command."""
    pytest.importorskip("radproof.cli")
    from radproof.cli import app

    found: dict[str, Any] = {}

    def walk(prefix: str, command: Any) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[prefix] = command
            return
        for name, child in inner.items():
            walk(f"{prefix} {name}".strip(), child)

    walk("", get_command(app))
    return found


def test_every_command_is_listed_in_the_docs():
    told = {cells[0].strip("`") for cells in rows(section(ROOT / "docs" / "README.md", "Commands"))}
    assert told == {f"radproof {name}" for name in commands()}


def written_commands() -> list[tuple[str, str]]:
    """Every command line in a block without a language, continued lines joined."""
    found: list[tuple[str, str]] = []
    for page in PROSE:
        for body in blocks(page, ""):
            lines = body.replace("\\\n", " ").splitlines()
            found += [(page.name, line) for line in lines if line.startswith(("radproof ", "make "))]
    return found


@pytest.mark.parametrize(("page", "line"), written_commands())
def test_commands_in_the_pages_exist_with_their_options(page, line):
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
        assert set(words[1:]) <= set(targets)
        return
    known = commands()
    name = " ".join(words[1:3]) if " ".join(words[1:3]) in known else words[1]
    assert name in known, f"{page}: no command {line!r}"
    options = {flag for parameter in known[name].params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options


def test_the_readme_names_the_two_commands():
    lines = [line for _, line in written_commands()]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "```\nmake demo\n```" in text
    assert "```\nmake test\n```" in text
    assert {"make demo", "make test"} <= set(lines)
    assert len(text.splitlines()) <= 120


# Links


def slug(heading: str) -> str:
    """The anchor of a heading, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, flags=re.M)}


def broken_links(page: Path) -> list[str]:
    """Relative targets without a file, or without that heading in it."""
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_code(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_missing_file_and_a_missing_heading_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](none.md) [b](#a-heading) [c](#another) [d](https://example.org) `[e](no.md)`\n")
    assert broken_links(page) == ["none.md", "#another"]


# Examples in Python


class Tiny:
    """A classifier of one linear layer."""

    labels = ("Normal", "Pneumonia")
    head = "softmax"
    micro_batch = 4

    def __init__(self) -> None:
        self.weight = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))

    def __call__(self, x):
        return x.flatten(1) @ self.weight.T


def attack_blocks() -> list[tuple[str, str]]:
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "howto" / "add-an-attack.md"]
    return [(page.name, body) for page in pages for body in blocks(page, "python")]


@pytest.mark.parametrize(("page", "code"), attack_blocks())
def test_attacks_in_the_pages_run_and_keep_their_budget(page, code, monkeypatch):
    monkeypatch.setattr(registry, "attack", Registry("attack"))
    exec(compile(code, page, "exec"), {"__name__": page})
    (recipe,) = registry.attack
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    goal = Misclassify(Tiny()(x).argmax(1))
    for preset in ("quick", "published", "exhaustive"):
        meter = Metered(Tiny())
        made = recipe.make({"eps": 4 / 255}, preset=preset)(meter, x, goal, rng=torch.Generator().manual_seed(2))
        assert meter.backwards / len(x) == recipe.cost(recipe.settle({}, preset)).backwards
        assert float((made - x).abs().max()) == pytest.approx(4 / 255, abs=1e-6)
        assert bool((goal.loss(Tiny()(made)) > goal.loss(Tiny()(x))).all())


def test_the_example_in_contributing_is_the_file():
    (shown,) = blocks(ROOT / "CONTRIBUTING.md", "python")
    file = (ROOT / "src" / "radproof" / "attacks" / "transfer" / "mi.py").read_text(encoding="utf-8")
    assert shown.strip() in file


def test_the_black_box_in_the_pages_is_attacked(capsys):
    (code,) = blocks(ROOT / "docs" / "howto" / "choose-attacks.md", "python")
    exec(compile(code, "choose-attacks.md", "exec"), {"__name__": "page"})
    assert "queries per image" in capsys.readouterr().out


@pytest.mark.parametrize("page", PROSE, ids=ids(PROSE))
def test_python_in_the_pages_imports_what_exists(page):
    for body in blocks(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("radproof"):
                exec(compile(ast.Module([node], []), page.name, "exec"), {})


# Doubts, decisions, versions


def raised_kinds() -> set[str]:
    """Every kind of doubt in the sources: keywords of Doubt(...), and the list that preflight pairs with its checks."""
    found: set[str] = set()
    for path in (ROOT / "src" / "radproof").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Doubt":
                kinds = [word.value for word in node.keywords if word.arg == "kind"]
                found |= {kind.value for kind in kinds if isinstance(kind, ast.Constant)}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_doubt":
                found |= {kind.value for kind in node.args[1:2] if isinstance(kind, ast.Constant)}
        if path.name == "preflight.py":
            (function,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "preflight"]
            words = [n.value for n in ast.walk(function) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            found |= {word for word in words if re.fullmatch(r"[a-z]+(-[a-z]+)*", word)} - {"all"}
    return found


def test_every_doubt_is_explained():
    told = {
        cells[0].strip("`") for cells in rows(section(ROOT / "docs" / "explanation" / "honest-numbers.md", "Doubts"))
    }
    assert told == raised_kinds()


@pytest.mark.parametrize("page", DECISIONS, ids=ids(DECISIONS))
def test_decisions_are_one_page_in_three_parts_and_indexed(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, flags=re.M) == ["Context", "Decision", "Consequences"]
    assert text.startswith(f"# {page.name[:4]}: ")
    assert len(text.split()) <= 450
    assert f"({page.name})" in (page.parent / "README.md").read_text(encoding="utf-8")


def test_decisions_are_numbered_without_gaps():
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_changelog_tells_of_this_version():
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
