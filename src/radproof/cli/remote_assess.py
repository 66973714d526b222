# SPDX-License-Identifier: Apache-2.0
"""A plan of this machine, done by a server: what it names is sent, the run is watched, what it left is fetched."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from radproof.cli.console import Bars
from radproof.cli.remote_plan import DataFile, ModelFile, read, replaced
from radproof.client import Client, Run, Thing
from radproof.client.http import plain
from radproof.client.packing import packed, packed_model
from radproof.core.files import sha256_file, write_text
from radproof.core.progress import Progress
from radproof.core.records import digest
from radproof.errors import BadInput, BadPlan, Interrupted, RadproofError

IMAGES = 1000  # that are fetched, unless somebody says otherwise
MARK = "remote.json"  # in a folder: of which run and plan it holds what


def assess(
    client: Client,
    plan: Path,
    out: Path | None,
    *,
    project: str | None = None,
    overwrite: bool = False,
    pdf: bool = False,
    bars: Bars,
) -> tuple[Path, dict[str, Any]]:
    """Do a plan on a server, in a project by its id or name: the folder of what came of it, and the result.

    Raises BadPlan for a plan that a server cannot do, BadInput for a folder that holds something else, Interrupted
    where the run was cancelled or paused, or the waiting was.
    """
    document = read(plan)
    folder = out or Path("runs") / str(document.get("name", plan.stem))
    if not overwrite:
        held(folder)
    document = sent(client, document, plan.parent, bars, project)
    if not overwrite:
        check_folder(folder, document)
    name = str(document.get("title") or document.get("name") or plan.stem)
    run = client.start(document, name=name[:120], project=_lazily(client, project))
    bars.note(f"{run.id} is queued on the server")
    ended = follow(client, run, bars)
    take(client, ended, folder, document, pdf=pdf, progress=bars)
    return folder, client.result(ended.id)


def sent(
    client: Client, document: Mapping[str, Any], base: Path, progress: Progress, project: str | None = None
) -> dict[str, Any]:
    """The plan with names of the server in place of paths; what they name is sent where it is not there yet."""
    where: list[str] = []

    def home() -> str:
        where[:] = where or [client.project(project)]
        return where[0]

    return replaced(
        document,
        base,
        lambda file: _model(client, file, home(), progress),
        lambda file: _data(client, file, home(), progress),
    )


def held(folder: Path) -> dict[str, Any] | None:
    """What a folder says that it holds; None: it is empty. Raises BadInput where that is nothing of a server's."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput(f"{folder} holds something else; give another --out, or --overwrite") from None
    return found if isinstance(found, dict) else {}


def check_folder(folder: Path, document: Mapping[str, Any]) -> None:
    """Raises BadInput where a folder holds what came of another plan."""
    found = held(folder)
    if found is not None and found.get("plan") != digest(document):
        raise BadInput(f"{folder} holds the run of another plan; give another --out, or --overwrite")


def follow(client: Client, run: Run, progress: Progress) -> Run:
    """Wait for a run's end, and tell how far it is. Raises what its end was, where that is not "done"."""
    watch = _Watch(progress)
    try:
        ended = client.wait(run, watch)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{run.id} goes on on the server; `radproof remote fetch {run.id} --out …` waits for it again, "
            f"`radproof remote cancel {run.id}` ends it"
        ) from None
    if ended.state == "paused":
        raise Interrupted(
            f"{run.id} is paused on the server; `radproof remote resume {run.id}`, "
            f"then `radproof remote fetch {run.id} --out …`"
        )
    if ended.state == "cancelled":
        raise Interrupted(f"{run.id} was cancelled on the server")
    if ended.state == "failed":
        raise _Failed(plain(ended.error or "the run failed on the server"))
    return ended


def take(
    client: Client,
    run: Run,
    out: Path,
    document: Mapping[str, Any],
    *,
    pdf: bool = False,
    images: int = IMAGES,
    progress: Progress,
) -> None:
    """Download report, summary, result and attacked images into a folder; images of another run in it are removed."""
    mark = json.dumps({"run": run.id, "plan": digest(document)})
    if not (out / MARK).is_file() or (out / MARK).read_text(encoding="utf-8") != mark:
        shutil.rmtree(out / "images", ignore_errors=True)
    write_text(out / MARK, mark)
    names = {"html": "report.html", "json": "result.json", "md": "summary.md", "csv": "rows.csv"}
    if pdf:
        names["pdf"] = "report.pdf"
    if run.summary.get("gates"):
        names |= {"junit.xml": "gate.junit.xml", "sarif": "gate.sarif"}
    for format, name in names.items():
        client.report(run.id, out / name, format)
    found = [one.id for one in client.images(run.id, defense="none") if "attacked" in one.kinds]
    chosen = found[:images]
    if len(chosen) < len(found):
        progress.note(
            f"{len(chosen):,} of {len(found):,} attacked images are fetched; all of them: "
            f"`radproof remote fetch {run.id} --out {out} --images {len(found)}`"
        )
    progress.start("images", max(1, len(chosen)))
    for one in chosen:
        target = out / "images" / f"{one}.png"
        if not target.exists():
            client.picture(run.id, one, target)
        progress.advance("images")


class _Failed(RadproofError):
    """The run failed on the server."""

    exit_code = 2


class _Watch:
    """Tells a bar where a run is."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._stage, self._done, self._state = progress, "", 0.0, ""

    def __call__(self, run: Run) -> None:
        if run.state != self._state:
            self._state = run.state
            self._progress.note(f"{run.id} is {run.state}")
        now = run.progress
        if not now.stage or not now.total:
            return
        if now.stage != self._stage:
            self._stage, self._done = now.stage, 0.0
            self._progress.start(now.stage, now.total)
        done = min(now.done or 0.0, now.total)
        if done > self._done:
            self._progress.advance(now.stage, done - self._done)
            self._done = done


def _lazily(client: Client, project: str | None) -> str | None:
    """A project's id, asked for only where one is named: a plan of the server's own things needs none."""
    return client.project(project) if project else None


def _model(client: Client, model: ModelFile, project: str, progress: Progress) -> str:
    file, card = packed_model(model.path, model.card)
    name = _name(model.path, file, card, model.architecture)
    there = _there(client.models(project), name)
    if there:
        progress.note("the model is on the server already")
        return there
    progress.note("the model is sent")
    made = client.upload_model(file, name=name, card=card, architecture=model.architecture, project=project)
    found = client.wait_ready(made)
    if found.state == "unchecked":
        raise BadPlan(f"{found.id} has no card that says how it takes its images; give model.card")
    return found.id


def _data(client: Client, data: DataFile, project: str, progress: Progress) -> str:
    with packed(data.path) as file:
        name = _name(data.path, file, data.table, data.told)
        there = _there(client.data_sets(project), name)
        if there:
            progress.note("the data set is on the server already")
            return there
        progress.note("the data set is sent")
        made = client.upload_data(file, name=name, labels=data.table, project=project, **data.told)
    found = client.wait_ready(made)
    if data.patients and not found.facts.get("patients_known"):
        raise BadPlan(f"{found.id} was imported without its patients, which data.patients tells; nothing was begun")
    return found.id


def _name(path: Path, file: Path, beside: Path | None, told: Any) -> str:
    """What it is called on the server: the same bytes, told the same, have the same name."""
    kept = digest([sha256_file(file), sha256_file(beside) if beside else "", told])[:12]
    return f"{path.stem[:80]} {kept}"


def _there(things: Iterator[Thing], name: str) -> str:
    """The id of what was sent before under this name and is ready."""
    return next((one.id for one in things if one.name == name and one.state == "ready"), "")
