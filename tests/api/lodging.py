# SPDX-License-Identifier: Apache-2.0
"""Models whose processes do as they are told, for tests of screening."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.api.conftest import House, Person
from tests.core import lodgers

from radproof.api.screening.screener import Screeners
from radproof.store.ids import new_id
from radproof.store.tables import GuardFile, Model

CORE = Path(lodgers.__file__).parent
URL = "/api/v1/screening"


def png(pixels=None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), 90, np.uint8) if pixels is None else pixels).save(stream, "PNG")
    return stream.getvalue()


def screeners(house: House, **how) -> Screeners:
    house.service.screeners.close()
    made = Screeners(house.service.settings, **{"task": "lodgers:screens", "paths": [CORE], **how})
    object.__setattr__(house.service, "screeners", made)
    return made


@pytest.fixture(name="lodging")
def lodging_fixture(house: House):
    """lodging(["answer"]) is the name of a model whose process does so with each image; a clinician asks."""
    who = house.person("clinician")
    screeners(house)

    def add(plan, project: str = "", state: str = "ready", guarded: bool = True) -> str:
        name, guard = new_id("mdl"), new_id("grd")
        folder, guards = house.service.settings.folder("models", name), house.service.settings.folder("guards")
        folder.mkdir(parents=True)
        guards.mkdir(exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(plan))
        (guards / f"{guard}.safetensors").touch()
        own = {"project_id": project or who.project}
        with house.service.database.writing() as session:
            session.add(Model(id=name, name="Chest", path=f"models/{name}/plan.json", state=state, **own))
            session.flush()
            if guarded:
                session.add(GuardFile(id=guard, model_id=name, state="ready", **own))
        return name

    return who, add


def ask(who: Person, model: str, content: bytes | None = None, **fields):
    files = {"image": ("Doe^Jane.png", png() if content is None else content)}
    return who.client.post(URL, data={"model": model, **fields}, files=files)


def left(house: House) -> list[Path]:
    """Images that lie somewhere in the server's home."""
    home = house.service.settings.home
    spooled = [path for path in home.glob("screening/*/*") if path.name not in ("held", "requests", "answers")]
    return spooled + list(home.glob("uploads/*"))
