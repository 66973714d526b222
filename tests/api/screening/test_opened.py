# SPDX-License-Identifier: Apache-2.0
"""What opening a model tells nobody, how much memory its process may have, and that none outlives its model."""

from pathlib import Path

import pytest
from tests.api.lodging import ask, lodging_fixture  # noqa: F401
from tests.api.results import sketcher

from radproof.api.http.problems import Problem
from radproof.api.screening import held
from radproof.api.screening.drawers import Drawers, Subject
from radproof.api.screening.held import Held, Task
from radproof.api.screening.spool import Spool
from radproof.store.settings import Settings


@pytest.mark.parametrize("home", ["home", "a home, with: spaces"])
def test_privacy_a_model_that_is_not_there_is_told_without_the_servers_path(tmp_path: Path, home: str) -> None:
    settings = Settings(home=tmp_path / home)
    folder = settings.folder("models", "mdl_0000000000000000000000000a")
    folder.mkdir(parents=True)
    spool = Spool(settings.folder("screening"))
    drawers = Drawers(settings, spool)
    drawers.task, drawers.paths = "sketcher:serve", [Path(sketcher.__file__).parent]
    (folder / "plan.json").write_text('"nowhere"')
    subject = Subject("mdl_x", folder, folder, "abc", ("a", "b"))
    try:
        with pytest.raises(Problem) as told:
            drawers.draw(subject, bytes, {"kind": "defended", "top": 0, "channels": 1}, (4, 4))
    finally:
        drawers.close()
        spool.close()
    assert told.value.status == 422
    assert told.value.detail.endswith("there is no model at the model/x; its card is the image")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("no {model}: x", "no the model: x"),
        ("{guard} holds NaN", "the guard holds NaN"),
        ("{folder}/other.txt is new", "its folder/other.txt is new"),
        ("{room}/requests is full", "its folder/requests is full"),
        ("{home}/secret", "secret"),
        ("see /usr/lib/python3/torch.py", "see torch.py"),
        ("1/255 of 4/255", "1/255 of 4/255"),
    ],
)
def test_privacy_sentences_of_a_process_name_no_path(tmp_path: Path, words: str, said: str) -> None:
    home = tmp_path / "home"
    one = object.__new__(Held)
    one._spool, one._room = Spool(home / "screening"), home / "screening" / "0f"
    one._image = one._room / "image"
    folder = home / "models" / "m"
    paths = {"model": str(folder / "w.pt"), "guard": str(home / "guards" / "g.safetensors"), "threads": 1}
    one._task = Task("", paths, [folder])
    given = words.format(**paths, folder=folder, room=one._room, home=home)
    assert one._plain(given) == said


def test_dos_all_processes_together_fit_into_the_memory(house, lodging, monkeypatch) -> None:
    shares: list[float] = []

    def memory(most: int, *, share: float) -> int:
        shares.append(share)
        return 4_000_000_000

    monkeypatch.setattr(held, "guard_memory", memory)
    who, add = lodging
    assert ask(who, add(["answer"])).status_code == 200
    drawers, folder = house.service.screeners.drawers, house.service.settings.folder("models", "x")
    folder.mkdir()
    drawers.task = "nothing:serve"
    with pytest.raises(Problem):
        drawers.draw(Subject("x", folder, folder, "", ()), bytes, {}, (1, 1))
    assert len(shares) == 2 and sum(shares) / 2 * (house.service.settings.screening_models + 1) <= 0.75


class Late:
    """A process that is opened while its model's folder is being taken away."""

    waiting, alive, closed = 0, True, False

    def close(self) -> None:
        self.closed = True


def test_a_process_that_was_opened_while_its_model_was_removed_is_ended(house, lodging, monkeypatch) -> None:
    model, late, rename = lodging[1](["answer"]), Late(), Path.rename
    kept = house.service.screeners._pool.kept

    def slow(path: Path, target: Path) -> Path:
        if path.name == model:
            kept[model] = late
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slow)
    assert house.person("developer").client.delete(f"/api/v1/models/{model}").status_code == 204
    assert late.closed and model not in kept
