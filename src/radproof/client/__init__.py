# SPDX-License-Identifier: Apache-2.0
"""A radproof server from Python: `Client("https://radproof.example").start({...})`."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from radproof.client.asking import API, named
from radproof.client.http import NotFound, Refused, ServerFailed, plain
from radproof.client.own import Own
from radproof.client.readers import Readers
from radproof.client.records import (
    Image,
    ImageAround,
    Key,
    Outcome,
    Part,
    Plan,
    Progress,
    ReaderTest,
    Run,
    Screened,
    Status,
    Thing,
)  # fmt: skip
from radproof.client.shelf import Shelf
from radproof.errors import BadInput

__all__ = [
    "Client", "Image", "ImageAround", "Key", "NotFound", "Outcome", "Part", "Plan", "Progress", "ReaderTest", "Refused",
    "Run", "Screened", "ServerFailed", "Status", "Thing",
]  # fmt: skip

FORMATS = ("html", "pdf", "json", "csv", "md", "junit.xml", "sarif")
BROUGHT = {  # states that an order leads to; one of them, once its answer was lost, says that it was obeyed
    "cancel": ("cancelling", "cancelled"),
    "pause": ("pausing", "paused"),
    "resume": ("queued", "running"),
    "retry": ("queued", "running"),
}
Watch = Callable[[Run], None]


class Client(Shelf, Readers, Own):
    """One server and one key.

    The key is an argument or RADPROOF_KEY; it is sent to this server alone, and by http:// to this machine alone
    (`allow_http=True` for a network of one's own). Requests are sent again after 429, 503 and broken connections; those
    that make things carry an idempotency key; of others it is looked at whether a lost one was done. Errors are those
    of radproof.errors. Use it with `with`.
    """

    def status(self) -> Status:
        """The server's version, whether a worker is alive, how long the queue is."""
        return Status.model_validate(self._server.call("GET", f"{API}/status"))

    def project(self, wanted: str | None = None) -> str:
        """The id of one of the key's projects, by its id or name; the only one, where none is named.

        Raises BadInput naming them.
        """
        told = self.account()
        own = {str(one["id"]): str(one["name"]) for one in told["projects"]}
        if wanted is None:
            found = [one for one in own if one == told.get("project")] or list(own)
        else:
            found = [one for one, name in own.items() if wanted in (one, name)]
        if len(found) == 1:
            return found[0]
        yours = ", ".join(plain(name) for name in own.values()) or "none"
        raise BadInput(f"{'say which project' if wanted is None else 'no such project'}; yours: {yours}")

    # Plans and runs

    def parts(self) -> dict[str, list[Part]]:
        """Everything that a plan may name, with its parameters: attack, defense, detector, corruption."""
        found = self._server.call("GET", f"{API}/parts")
        return {kind: [Part.model_validate(one) for one in of] for kind, of in found.items()}

    def part(self, kind: str, name: str) -> Part:
        """One of them. Raises NotFound."""
        return Part.model_validate(self._server.call("GET", f"{API}/parts/{named(kind)}/{named(name)}"))

    def plans(self, project: str | None = None) -> Iterator[Plan]:
        """All, newest first."""
        return self._all("plans", Plan, project=project)

    def plan(self, id: str) -> Plan:
        """One saved plan. Raises NotFound."""
        return Plan.model_validate(self._server.call("GET", f"{API}/plans/{named(id)}"))

    def save_plan(self, document: Mapping[str, Any], *, name: str = "", project: str | None = None) -> Plan:
        """Keep a plan after the server checked it."""
        body = {"document": dict(document), "name": name, **({"project": project} if project else {})}
        return Plan.model_validate(self._server.call("POST", f"{API}/plans", json=body, once=True))

    def remove_plan(self, id: str) -> None:
        """Remove a plan. Raises Refused (409) where runs were made by it."""
        self._remove(f"plans/{named(id)}")

    def presets(self) -> Any:
        """Ready plans, as the server's form offers them."""
        return self._server.call("GET", f"{API}/plans/presets")

    def estimate(self, document: Mapping[str, Any], *, project: str | None = None) -> Any:
        """What a plan would cost."""
        body = {"document": dict(document), **({"project": project} if project else {})}
        return self._server.call("POST", f"{API}/plans/estimate", json=body)

    def runs(self, project: str | None = None, **filters: str) -> Iterator[Run]:
        """All, newest first."""
        return self._all("runs", Run, project=project, **filters)

    def run(self, id: str) -> Run:
        """One run, as it stands. Raises NotFound."""
        return Run.model_validate(self._server.call("GET", f"{API}/runs/{named(id)}"))

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
        return Run.model_validate(self._server.call("POST", f"{API}/runs", json=body, once=True))

    def wait(self, run: Run | str, watch: Watch | None = None, *, every: float = 2.0) -> Run:
        """Ask until a run has ended, or is paused; `watch` is told each time how it stands, with its progress.

        A paused run waits for somebody, who may never come: look at `state`, and `resume` it.
        """
        found = run if isinstance(run, Run) else self.run(run)
        while True:
            if watch is not None:
                watch(found)
            if found.ended or found.state == "paused":
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

    def prioritise(self, run: str, priority: int) -> Run:
        """Put a run before or behind others: 1 to 1000, smaller ones go first."""
        return Run.model_validate(self._server.call("PATCH", f"{API}/runs/{named(run)}", json={"priority": priority}))

    def remove_run(self, run: str) -> None:
        """Remove a run that is over, and its files."""
        self._remove(f"runs/{named(run)}")

    # What came of it

    def result(self, run: str) -> dict[str, Any]:
        """The whole result, as result.schema.json describes it."""
        return self._server.call("GET", f"{API}/runs/{named(run)}/result")

    def report(self, run: str, path: Path, format: str = "html") -> Path:
        """Download a report: html, pdf, json, csv, md, junit.xml or sarif."""
        if format not in FORMATS:
            raise BadInput(f"no report in the format {format!r}; there are {', '.join(FORMATS)}")
        return self._server.download(f"{API}/runs/{named(run)}/report.{format}", path)

    def images(self, run: str, **filters: str) -> Iterator[Image]:
        """Attacked images: `attack`, `budget`, `goal`, `defense`, `label` and `outcome` choose among them."""
        return self._all(f"runs/{named(run)}/images", Image, **filters)

    def image(self, run: str, image: str, **filters: str) -> ImageAround:
        """One, with those before and after it among the ones that the filters leave, and itself at every budget."""
        found = self._server.call("GET", f"{API}/runs/{named(run)}/images/{named(image)}", query=filters)
        return ImageAround.model_validate(found)

    def picture(self, run: str, image: str, path: Path, kind: str = "attacked") -> Path:
        """Download one: original, attacked, defended, difference, cam_before or cam_after."""
        if kind not in ("original", "attacked", "defended", "difference", "cam_before", "cam_after"):
            raise BadInput(f"no picture of the kind {kind!r}")
        return self._server.download(f"{API}/runs/{named(run)}/images/{named(image)}/{kind}.png", path)

    def screen(self, image: Path, model: str, *, view: str | None = None) -> Screened:
        """Ask about one image before the model's answer is used. The file's name is not sent. Not for diagnosis."""
        form = {"model": model, **({"view": view} if view else {})}
        return Screened.model_validate(self._server.call("POST", f"{API}/screening", form=form, files={"image": image}))

    def _order(self, run: str, word: str) -> Run:
        try:
            return Run.model_validate(self._server.call("POST", f"{API}/runs/{named(run)}/{word}"))
        except Refused as error:
            if error.status != 409 or not error.again or (found := self.run(run)).state not in BROUGHT[word]:
                raise
            return found
