# SPDX-License-Identifier: Apache-2.0
"""A radproof server from Python: `Client("https://radproof.example").start({...})`."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from radproof.client.http import NotFound, Refused, ServerFailed, Transport
from radproof.client.packing import packed, packed_model
from radproof.client.records import Image, Plan, Progress, Run, Screened, Status, Thing, Told
from radproof.errors import BadInput

__all__ = [
    "Client", "Image", "NotFound", "Plan", "Progress", "Refused", "Run", "Screened", "ServerFailed", "Status", "Thing",
]  # fmt: skip

API = "/api/v1"
FORMATS = ("html", "pdf", "json", "csv", "md", "junit.xml", "sarif")
T = TypeVar("T", bound=Told)
Watch = Callable[[Run], None]


class Client:
    """One server and one key.

    The key is an argument or RADPROOF_KEY; it is sent to this server alone, and by http:// to this machine alone
    (`allow_http=True` for a network of one's own). Requests that make things carry an idempotency key, and are sent
    again after 429, 503 and broken connections. Errors are those of radproof.errors. Use it with `with`.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        allow_http: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._sleep = sleep
        self._server = Transport(url, key, timeout=timeout, allow_http=allow_http, sleep=sleep, inner=transport)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._server.close()

    def status(self) -> Status:
        """The server's version, whether a worker is alive, how long the queue is."""
        return Status.model_validate(self._server.call("GET", f"{API}/status"))

    def account(self) -> dict[str, Any]:
        """Whose key it is, and their projects."""
        return self._server.call("GET", f"{API}/account")

    # Models and data sets

    def models(self, project: str | None = None) -> Iterator[Thing]:
        """All, newest first; pages are fetched as they are needed."""
        return self._all("models", Thing, project=project)

    def model(self, id: str) -> Thing:
        """One model. Raises NotFound."""
        return Thing.model_validate(self._server.call("GET", f"{API}/models/{_named(id)}"))

    def upload_model(
        self,
        path: Path,
        *,
        name: str = "",
        card: Path | None = None,
        architecture: str | None = None,
        project: str | None = None,
    ) -> Thing:
        """Send a model file, or a model's folder. It is checked by a worker: see `wait_ready`."""
        file, card = packed_model(path, card)
        form = {"name": name, "architecture": architecture, "project": project}
        return self._upload("models", form, {"file": file, "card": card})

    def remove_model(self, id: str) -> None:
        """Remove a model. Raises Refused (409) where runs need it."""
        self._server.call("DELETE", f"{API}/models/{_named(id)}")

    def data_sets(self, project: str | None = None) -> Iterator[Thing]:
        """All, newest first."""
        return self._all("data", Thing, project=project)

    def data_set(self, id: str) -> Thing:
        """One data set. Raises NotFound."""
        return Thing.model_validate(self._server.call("GET", f"{API}/data/{_named(id)}"))

    def upload_data(
        self,
        path: Path,
        *,
        name: str = "",
        labels: Path | None = None,
        project: str | None = None,
        **told: str,
    ) -> Thing:
        """Send a zip of images, or a folder, which is zipped on the way; `told`: classes, multi_label, label_tag."""
        with packed(path) as file:
            return self._upload("data", {"name": name, "project": project, **told}, {"file": file, "labels": labels})

    def remove_data(self, id: str) -> None:
        """Remove a data set. Raises Refused (409) where runs need it."""
        self._server.call("DELETE", f"{API}/data/{_named(id)}")

    def wait_ready(self, thing: Thing, *, seconds: float = 3600.0) -> Thing:
        """Wait until an upload was checked. Raises BadInput with the reason where it cannot be used."""
        kind = {"mdl": "models", "dat": "data"}.get(thing.id[:3])
        if kind is None:
            raise BadInput("only models and data sets are checked after an upload")
        until = time.monotonic() + seconds
        while thing.state == "importing" and time.monotonic() < until:
            self._sleep(1.0)
            thing = Thing.model_validate(self._server.call("GET", f"{API}/{kind}/{_named(thing.id)}"))
        if thing.state == "failed":
            raise BadInput(_plain(thing.error or "the upload cannot be used"))
        if thing.state == "importing":
            raise ServerFailed("the upload is not checked yet; is a worker running?")
        return thing

    def guards(self, model: str) -> Iterator[Thing]:
        """Detectors that were taught for a model."""
        return self._all(f"models/{_named(model)}/guards", Thing)

    def teach_guard(
        self, model: str, data: str, *, detector: str = "drift", rate: float = 0.05, other_data: bool = False
    ) -> Thing:
        """Teach a detector on a data set; it screens for the model once it is ready."""
        told = {"data": data, "detector": detector, "rate": rate, "other_data": other_data}
        return Thing.model_validate(self._server.call("POST", f"{API}/models/{_named(model)}/guards", json=told))

    # Plans and runs

    def plans(self, project: str | None = None) -> Iterator[Plan]:
        """All, newest first."""
        return self._all("plans", Plan, project=project)

    def presets(self) -> Any:
        """Ready plans, as the server's form offers them."""
        return self._server.call("GET", f"{API}/plans/presets")

    def estimate(self, document: Mapping[str, Any]) -> Any:
        """What a plan would cost."""
        return self._server.call("POST", f"{API}/plans/estimate", json=dict(document))

    def runs(self, project: str | None = None, **filters: str) -> Iterator[Run]:
        """All, newest first."""
        return self._all("runs", Run, project=project, **filters)

    def run(self, id: str) -> Run:
        """One run, as it stands. Raises NotFound."""
        return Run.model_validate(self._server.call("GET", f"{API}/runs/{_named(id)}"))

    def start(
        self,
        plan: str | Mapping[str, Any],
        *,
        name: str | None = None,
        priority: int | None = None,
        project: str | None = None,
    ) -> Run:
        """Queue a run of a saved plan (its id) or of a document whose model and data are ids of the server."""
        asked = {
            "plan" if isinstance(plan, str) else "document": plan,
            "name": name,
            "priority": priority,
            "project": project,
        }
        body = {key: value for key, value in asked.items() if value is not None}
        return Run.model_validate(self._server.call("POST", f"{API}/runs", json=body))

    def wait(self, run: Run | str, watch: Watch | None = None, *, every: float = 2.0) -> Run:
        """Ask until a run has ended; `watch` is told each time how it stands, with its progress."""
        found = run if isinstance(run, Run) else self.run(run)
        while True:
            if watch is not None:
                watch(found)
            if found.ended:
                return found
            self._sleep(every)
            found = self.run(found.id)

    def cancel(self, run: str) -> Run:
        """Ask a run to end; the batch at work is finished first."""
        return self._order(run, "cancel")

    def pause(self, run: str) -> Run:
        """Stop for now; finished batches are kept."""
        return self._order(run, "pause")

    def resume(self, run: str) -> Run:
        """Go on where it was paused."""
        return self._order(run, "resume")

    def retry(self, run: str) -> Run:
        """Queue a failed or cancelled run again."""
        return self._order(run, "retry")

    def remove_run(self, run: str) -> None:
        """Remove a run and its files."""
        self._server.call("DELETE", f"{API}/runs/{_named(run)}")

    # What came of it

    def result(self, run: str) -> dict[str, Any]:
        """The whole result, as result.schema.json describes it."""
        return self._server.call("GET", f"{API}/runs/{_named(run)}/result")

    def report(self, run: str, path: Path, format: str = "html") -> Path:
        """Download a report: html, pdf, json, csv, md, junit.xml or sarif."""
        if format not in FORMATS:
            raise BadInput(f"no report in the format {format!r}; there are {', '.join(FORMATS)}")
        return self._server.download(f"{API}/runs/{_named(run)}/report.{format}", path)

    def images(self, run: str, **filters: str) -> Iterator[Image]:
        """Attacked images: `attack`, `budget`, `goal`, `defense`, `label` and `outcome` choose among them."""
        return self._all(f"runs/{_named(run)}/images", Image, **filters)

    def picture(self, run: str, image: str, path: Path, kind: str = "attacked") -> Path:
        """Download one: original, attacked, defended, difference, cam_before or cam_after."""
        if kind not in ("original", "attacked", "defended", "difference", "cam_before", "cam_after"):
            raise BadInput(f"no picture of the kind {kind!r}")
        return self._server.download(f"{API}/runs/{_named(run)}/images/{_named(image)}/{kind}.png", path)

    def screen(self, image: Path, model: str, *, view: str | None = None) -> Screened:
        """Ask about one image before the model's answer is used. The file's name is not sent. Not for diagnosis."""
        form = {"model": model, **({"view": view} if view else {})}
        return Screened.model_validate(self._server.call("POST", f"{API}/screening", form=form, files={"image": image}))

    def _order(self, run: str, word: str) -> Run:
        self._server.call("POST", f"{API}/runs/{_named(run)}/{word}")
        return self.run(run)

    def _upload(self, kind: str, form: Mapping[str, str | None], files: Mapping[str, Path | None]) -> Thing:
        told = {key: value for key, value in form.items() if value}
        sent = {key: value for key, value in files.items() if value is not None}
        return Thing.model_validate(self._server.call("POST", f"{API}/{kind}", form=told, files=sent))

    def _all(self, path: str, kind: type[T], **query: Any) -> Iterator[T]:
        cursor: str | None = None
        while True:
            page = self._server.call("GET", f"{API}/{path}", query={**query, "limit": 100, "cursor": cursor})
            for item in page["items"]:
                yield kind.model_validate(item)
            cursor = page.get("next")
            if not cursor:
                return


def _named(id: str) -> str:
    """A name of the server's, which never holds what would lead elsewhere."""
    if not id or not all((c.isalnum() and c.isascii()) or c in "_-" for c in id):
        raise BadInput("a name on a server is letters, digits, - and _, such as run_0123…")
    return id


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:1000]
