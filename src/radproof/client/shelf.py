# SPDX-License-Identifier: Apache-2.0
"""Models, data sets and guards of a server."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from radproof.client.asking import API, Asking, named
from radproof.client.http import ServerFailed, plain
from radproof.client.packing import packed, packed_model
from radproof.client.records import Thing
from radproof.errors import BadInput

MAKING = ("importing", "teaching")


class Shelf(Asking):
    """What a project has, beside plans and runs."""

    def models(self, project: str | None = None) -> Iterator[Thing]:
        """All, newest first; pages are fetched as they are needed."""
        return self._all("models", Thing, project=project)

    def model(self, id: str) -> Thing:
        """One model. Raises NotFound."""
        return Thing.model_validate(self._server.call("GET", f"{API}/models/{named(id)}"))

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
        self._remove(f"models/{named(id)}")

    def rename_model(self, id: str, name: str) -> Thing:
        """Another name for people."""
        return Thing.model_validate(self._server.call("PATCH", f"{API}/models/{named(id)}", json={"name": name}))

    def check_model(self, id: str, data: str) -> Thing:
        """Try a model on labelled images, which tell its conventions where it has no card; see `wait_ready`."""
        told = {"data": data}
        return Thing.model_validate(self._server.call("POST", f"{API}/models/{named(id)}/check", json=told, once=True))

    def retry_model(self, id: str, *, architecture: str | None = None, card: Mapping[str, Any] | None = None) -> Thing:
        """Try an import that failed again, perhaps with another architecture or card; see `wait_ready`."""
        return self._again(f"models/{named(id)}", {"architecture": architecture, "card": card})

    def data_sets(self, project: str | None = None) -> Iterator[Thing]:
        """All, newest first."""
        return self._all("data", Thing, project=project)

    def data_set(self, id: str) -> Thing:
        """One data set. Raises NotFound."""
        return Thing.model_validate(self._server.call("GET", f"{API}/data/{named(id)}"))

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
        self._remove(f"data/{named(id)}")

    def rename_data(self, id: str, name: str) -> Thing:
        """Another name for people."""
        return Thing.model_validate(self._server.call("PATCH", f"{API}/data/{named(id)}", json={"name": name}))

    def retry_data(
        self,
        id: str,
        *,
        classes: str | None = None,
        multi_label: bool | None = None,
        label_tag: str | None = None,
        strict: bool | None = None,
    ) -> Thing:
        """Try an import that failed again; what is given replaces what was said. See `wait_ready`."""
        told = {"classes": classes, "multi_label": multi_label, "label_tag": label_tag, "strict": strict}
        return self._again(f"data/{named(id)}", told)

    def wait_ready(self, thing: Thing, *, seconds: float = 3600.0) -> Thing:
        """Wait until an upload was checked, or a guard taught. Raises BadInput with the reason where it cannot be used.

        A model may come back `unchecked`: labelled images have to tell its conventions (`check_model`).
        """
        told = thing.model_dump()
        id, model = named(thing.id), str(told.get("model", ""))
        ways = {"mdl": f"models/{id}", "dat": f"data/{id}", "grd": f"models/{model}/guards/{id}"}
        path = ways.get(id[:3])
        if path is None:
            raise BadInput("only models, data sets and guards are made ready by a worker")
        until = time.monotonic() + seconds
        while thing.state in MAKING and time.monotonic() < until:
            self._sleep(1.0)
            thing = Thing.model_validate(self._server.call("GET", f"{API}/{path}"))
        if thing.state == "failed":
            raise BadInput(plain(thing.error or "the upload cannot be used"))
        if thing.state in MAKING:
            raise ServerFailed("it is not checked yet; is a worker running?")
        return thing

    def guards(self, model: str) -> Iterator[Thing]:
        """Detectors that were taught for a model."""
        return self._all(f"models/{named(model)}/guards", Thing)

    def guard(self, model: str, guard: str) -> Thing:
        """One of them. Raises NotFound."""
        return Thing.model_validate(self._server.call("GET", f"{API}/models/{named(model)}/guards/{named(guard)}"))

    def teach_guard(
        self, model: str, data: str, *, detector: str = "drift", rate: float = 0.05, other_data: bool = False
    ) -> Thing:
        """Teach a detector on a data set; it screens for the model once it is ready."""
        told = {"data": data, "detector": detector, "rate": rate, "other_data": other_data}
        return Thing.model_validate(
            self._server.call("POST", f"{API}/models/{named(model)}/guards", json=told, once=True)
        )

    def remove_guard(self, model: str, guard: str) -> None:
        """Remove a guard."""
        self._remove(f"models/{named(model)}/guards/{named(guard)}")

    def _again(self, path: str, told: Mapping[str, Any]) -> Thing:
        body = {key: value for key, value in told.items() if value is not None}
        return Thing.model_validate(self._server.call("POST", f"{API}/{path}/retry", json=body, once=True))

    def _upload(self, kind: str, form: Mapping[str, str | None], files: Mapping[str, Path | None]) -> Thing:
        told = {key: value for key, value in form.items() if value}
        sent = {key: value for key, value in files.items() if value is not None}
        return Thing.model_validate(self._server.call("POST", f"{API}/{kind}", form=told, files=sent, once=True))
