# SPDX-License-Identifier: Apache-2.0
"""The command certify."""

from pathlib import Path
from typing import Annotated, Any

import typer

from radproof.cli.console import Bars, print_json, print_lines, print_table

PHANTOMS, SIDE = 300, 64


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("certify", epilog="What a certificate says is told in docs/howto/certify.md.")(certify)


def certify(
    model: Annotated[Path, typer.Option(help="A model's folder: weights.safetensors and card.yaml.")],
    data: Annotated[str, typer.Option(help="NIH release, folder per class, manifest, or the word phantom.")],
    sigma: Annotated[float, typer.Option(help="Of the Gaussian noise, in [0, 1] pixel units.")] = 0.25,
    n: Annotated[int, typer.Option(help="Noisy copies that prove the class.")] = 1000,
    n0: Annotated[int, typer.Option(help="Noisy copies that choose the class.")] = 100,
    alpha: Annotated[float, typer.Option(help="Chance that a certificate is wrong.")] = 0.001,
    images: Annotated[int, typer.Option(help="At most so many test images.")] = 100,
    radii: Annotated[str | None, typer.Option(help="L2 radii to tell of, with commas: 0,0.1,0.25.")] = None,
    size: Annotated[int | None, typer.Option(help="Resize the longer side on import.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda | mps.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for certificates.json.")] = Path("runs/certify"),
    overwrite: Annotated[bool, typer.Option(help="Throw away what the folder holds of other settings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Certify a model by randomised smoothing: what no small change can turn.

    Interrupt it as you like: the same command goes on where it was.
    """
    from radproof import app
    from radproof.assess.plan import make_plan
    from radproof.reports.certified import certified_rows, certified_words

    kind = "phantom" if data == "phantom" else app.kind_of(Path(data))
    source: dict[str, Any] = {"kind": kind, "size": size, "seed": seed}
    source |= {"count": max(PHANTOMS, 5 * images), "size": size or SIDE} if kind == "phantom" else {"path": data}
    wanted: dict[str, Any] = {"sigma": sigma, "n": n, "n0": n0, "alpha": alpha, "images": images}
    if radii:
        wanted["radii"] = [radius.strip() for radius in radii.split(",")]
    plan = {
        "name": "certify",
        "seed": seed,
        "device": device,
        "data": source,
        "model": {"path": str(model)},
        "certify": wanted,
        **_NO_ATTACK,
    }
    with Bars(quiet=quiet) as bars:
        found = app.certify(make_plan(plan, base=Path.cwd()), out, overwrite=overwrite, progress=bars)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(f"Certified accuracy of {found.images} images; no radius above {found.cap:.4g}", certified_rows(found))
    print_lines([certified_words(found), f"Certificates: {out / app.CERTIFICATES}"])


# A plan needs an attack and a budget; here none is run.
_NO_ATTACK: dict[str, Any] = {"attacks": ["fgsm"], "budgets": ["1"], "smallest": None, "survival": False}
