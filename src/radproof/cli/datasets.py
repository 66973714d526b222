# SPDX-License-Identifier: Apache-2.0
"""The commands around data sets: data import, data audit, data phantoms."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radproof.cli.console import Bars, print_json, print_lines
from radproof.cli.exporting import export_dicom
from radproof.cli.getting import get
from radproof.errors import GateFailed

if TYPE_CHECKING:
    from radproof.assess.received import Received

app = typer.Typer(help="Import, audit and draw data sets.", no_args_is_help=True, rich_markup_mode=None)
app.command("get")(get)
app.command("export-dicom")(export_dicom)

Classes = Annotated[str | None, typer.Option(help="Findings to tell apart, with commas.")]
Source = Annotated[
    Path,
    typer.Argument(help="NIH release, folder per class, manifest, DICOM, NIfTI, MedMNIST .npz, .tar shards, or a zip."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


@app.command("import")
def import_(
    source: Source,
    out: Annotated[Path, typer.Option(help="Folder for the manifest (and resized images).")],
    classes: Classes = None,
    multi_label: Annotated[bool, typer.Option(help="All findings side by side (sigmoid head).")] = False,
    patients: Annotated[
        Path | None, typer.Option(help="A folder's table: path,patient and perhaps view,age,sex.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Table (CSV) of what each image shows, for folders without classes.")
    ] = None,
    label_tag: Annotated[
        str | None, typer.Option(help="The DICOM attribute that says it instead, such as BodyPartExamined.")
    ] = None,
    voi: Annotated[
        str, typer.Option(help="DICOM, NIfTI: file | full | minmax | percentiles | CENTRE,WIDTH in its own units.")
    ] = "file",
    axis: Annotated[str | None, typer.Option(help="NIfTI: axial (default) | coronal | sagittal.")] = None,
    slices: Annotated[str | None, typer.Option(help="NIfTI: all (default) | middle | N for every Nth.")] = None,
    split: Annotated[str, typer.Option(help="patient (60/20/20) | release (its own test list).")] = "patient",
    balance: Annotated[str | None, typer.Option(help="class or class,view: equal numbers in each fold.")] = None,
    size: Annotated[int | None, typer.Option(help="Resize the longer side.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    strict: Annotated[
        bool, typer.Option(help="A zip: refuse it for a single file that cannot be read, not for more than 5 %.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read a data set, split it by patient and write its manifest.

    A zip archive is taken for a stranger's: it is unpacked and read in a guarded process, and only PNG files are kept.
    """
    from radproof import app as use
    from radproof.data.zipped import is_zip

    how: dict[str, Any] = {"classes": tuple(classes.split(",")) if classes else None, "multi_label": multi_label}
    if is_zip(source):
        with Bars(quiet=quiet) as bars:
            told = {**how, "label_tag": label_tag, "split": split, "size": size, "seed": seed, "strict": strict}
            took = use.take_data(source, out, labels=labels, progress=bars, **told)
        _show_taken(took, as_json=as_json)
        return
    with Bars(quiet=quiet) as bars:
        manifest = use.open_path(
            source,
            cache=out,
            progress=bars,
            **how,
            patients=str(patients) if patients else None,
            labels=str(labels) if labels else None,
            label_tag=label_tag,
            voi=tuple(voi.split(",")) if "," in voi else voi,
            **_nifti(axis, slices),
            split=split,
            balance=tuple(balance.split(",")) if balance else (),
            size=size,
            seed=seed,
        )
    manifest.write(out / "manifest.parquet")
    counts = {fold: manifest.fold(fold).counts() for fold in ("train", "validation", "test")}
    if as_json:
        print_json({"labels": manifest.labels, "images": len(manifest), "folds": counts})
        return
    _show_folds(counts)


def _show_folds(counts: Mapping[str, Mapping[str, int]]) -> None:
    for fold, found in counts.items():
        print_lines([f"{fold:<11} {', '.join(f'{label} {n}' for label, n in found.items())}"])


def _show_taken(took: "Received", *, as_json: bool) -> None:
    if as_json:
        print_json(took.model_dump(mode="json"))
        return
    _show_folds({name: fold.classes for name, fold in took.folds.items()})
    left = [f"left out: {count} {reason}" for reason, count in took.left_out.items()]
    left += [f"left out: file {one.index}: {one.reason}" for one in took.excluded]
    print_lines([*left, *took.audit.lines])


def _nifti(axis: str | None, slices: str | None) -> dict[str, str | int]:
    told = {"axis": axis, "slices": int(slices) if slices and slices.isdigit() else slices}
    return {name: value for name, value in told.items() if value is not None}


@app.command("audit")
def audit(
    source: Source,
    classes: Classes = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look for leaks between folds, twins and unreadable files; exits 1 with the list where there are any."""
    from radproof import app as use
    from radproof.assess.doubts import SHORTCUTS, show

    with Bars(quiet=quiet) as bars:
        # A set that came with folds of its own is judged by these, not by a split made here.
        kept = use.kind_of(source) == "nih" or (source / "test").is_dir()
        manifest = use.open_path(
            source,
            progress=bars,
            classes=tuple(classes.split(",")) if classes else None,
            split="release" if kept else "patient",
        )
        found, offered = use.audit(manifest, progress=bars)
    if as_json:
        told = [shortcut.model_dump(mode="json") for shortcut in offered]
        print_json(found.model_dump(mode="json") | {"failed": found.failed, "shortcuts": told})
    else:
        print_lines(found.lines({sample.id: sample.path for sample in manifest.samples}))
        print_lines([f"shortcut: {SHORTCUTS[s.name]} alone reaches AUROC {show(s.auroc, 2)}" for s in offered])
    if found.failed:
        raise GateFailed(f"the audit of {manifest.describe()} found what spoils test figures")


@app.command("phantoms")
def phantoms(
    out: Annotated[Path, typer.Option(help="Folder for the images and their manifest.")],
    count: Annotated[int, typer.Option(min=3, help="How many to draw.")] = 300,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Pixels per side.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Draw chest X-ray phantoms in three classes: for demos and tests, never for claims about patients."""
    from radproof.assess.data_set import open_manifest
    from radproof.assess.sections import DataPlan

    with Bars(quiet=quiet) as bars:
        data = DataPlan(kind="phantom", size=size, count=count, seed=seed)
        manifest = open_manifest(data, out, bars)
    manifest.write(out / "manifest.parquet")
    print_lines([f"{manifest.describe()} in {out}"])
