# SPDX-License-Identifier: Apache-2.0
"""A plan of this machine, done by a server: what it names is sent, the run is watched, what it left is fetched."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast

import yaml

from radproof.cli.console import Bars
from radproof.client import Client, Run, Thing
from radproof.client.packing import packed, packed_model
from radproof.core.files import sha256_file
from radproof.core.progress import Progress
from radproof.core.records import digest
from radproof.errors import BadPlan, Interrupted, RadproofError

_UPLOADED = ("path", "kind", "labels", "classes", "multi_label", "label_tag", "patients")  # said when data are sent
_TOLD = ("classes", "multi_label", "label_tag")
IMAGES = 1000


def assess(
    client: Client, plan: Path, out: Path | None, *, pdf: bool = False, images: int = IMAGES, bars: Bars
) -> tuple[Path, dict[str, Any]]:
    """Do a plan on a server: the folder of what came of it, and the result.

    Raises BadPlan for a plan that a server cannot do, Interrupted where the run was cancelled or the waiting was.
    """
    document = read(plan)
    folder = out or Path("runs") / str(document.get("name", plan.stem))
    document = sent(client, document, plan.parent, bars)
    run = client.start(document, name=str(document.get("title") or document.get("name") or plan.stem))
    bars.note(f"{run.id} is queued on the server")
    ended = follow(client, run, bars)
    take(client, ended, folder, pdf=pdf, images=images, progress=bars)
    return folder, client.result(ended.id)


def read(plan: Path) -> dict[str, Any]:
    """The plan as it is written. Raises BadPlan."""
    try:
        found = yaml.safe_load(plan.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadPlan(f"cannot read {plan}: {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise BadPlan(f"{plan} is no plan; docs/howto/plans.md says what one looks like")
    return cast("dict[str, Any]", found)


def sent(client: Client, document: Mapping[str, Any], base: Path, progress: Progress) -> dict[str, Any]:
    """The plan with names of the server in place of paths; what they name is sent where it is not there yet."""
    model, data = dict(document.get("model") or {}), dict(document.get("data") or {})
    if "id" not in model:
        path = model.pop("path", None)
        if path is None:
            raise BadPlan("a server assesses a model that exists: train it here with `radproof train`, give model.path")
        model["id"] = _model(client, base / str(path), model, base, progress)
    if "id" not in data and data.get("kind") != "phantom":
        if data.get("path") is None:
            raise BadPlan("data: give path, id (of the server), or kind: phantom")
        data = {"id": _data(client, data, base, progress)} | {k: v for k, v in data.items() if k not in _UPLOADED}
    return {**document, "model": model, "data": data}


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
    if ended.state == "cancelled":
        raise Interrupted(f"{run.id} was cancelled on the server")
    if ended.state == "failed":
        raise _Failed("".join(c if c.isprintable() else " " for c in ended.error or "the run failed on the server"))
    return ended


def take(client: Client, run: Run, out: Path, *, pdf: bool = False, images: int = IMAGES, progress: Progress) -> None:
    """Download report, summary, result and attacked images into a folder."""
    names = {"html": "report.html", "json": "result.json", "md": "summary.md", "csv": "rows.csv"}
    if pdf:
        names["pdf"] = "report.pdf"
    if run.summary.get("gates"):
        names |= {"junit.xml": "gate.junit.xml", "sarif": "gate.sarif"}
    for format, name in names.items():
        client.report(run.id, out / name, format)
    chosen = [one for one in islice(client.images(run.id, defense="none"), images) if "attacked" in one.kinds]
    progress.start("images", max(1, len(chosen)))
    for one in chosen:
        target = out / "images" / f"{one.id}.png"
        if not target.exists():
            client.picture(run.id, one.id, target)
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


def _model(client: Client, path: Path, told: Mapping[str, Any], base: Path, progress: Progress) -> str:
    card = base / str(told["card"]) if told.get("card") else None
    file, card = packed_model(path, card)
    name = _name(path, file, card, told.get("architecture"))
    there = _there(client.models(), name)
    if there:
        progress.note("the model is on the server already")
        return there
    progress.note("the model is sent")
    made = client.upload_model(file, name=name, card=card, architecture=told.get("architecture"))
    return client.wait_ready(made).id


def _data(client: Client, data: Mapping[str, Any], base: Path, progress: Progress) -> str:
    path = base / str(data["path"])
    labels = base / str(data["labels"]) if data.get("labels") else None
    told = {key: _word(data[key]) for key in _TOLD if data.get(key)}
    with packed(path) as file:
        name = _name(path, file, labels, told)
        there = _there(client.data_sets(), name)
        if there:
            progress.note("the data set is on the server already")
            return there
        progress.note("the data set is sent")
        made = client.upload_data(file, name=name, labels=labels, **told)
    return client.wait_ready(made).id


def _name(path: Path, file: Path, beside: Path | None, told: Any) -> str:
    """What it is called on the server: the same bytes, told the same, have the same name."""
    kept = digest([sha256_file(file), sha256_file(beside) if beside else "", told])[:12]
    return f"{path.stem[:80]} {kept}"


def _there(things: Iterator[Thing], name: str) -> str:
    """The id of what was sent before under this name and is ready."""
    return next((one.id for one in things if one.name == name and one.state == "ready"), "")


def _word(value: Any) -> str:
    return ",".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value).lower()
