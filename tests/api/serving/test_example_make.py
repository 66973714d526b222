# SPDX-License-Identifier: Apache-2.0
"""The example's making: a guard as soon as there is a model, facts of a finished run, neither of a failed one."""

from pathlib import Path
from typing import Any, Self

import pytest
import torch

from radproof.api.serving import example_make

PLAN = Path(__file__).parents[3] / "examples" / "plans" / "serve.yaml"


class Child:
    """A run that has its model at the third look, and then ends with a code."""

    def __init__(self, run: Path, code: int, *, learns: bool) -> None:
        self.run, self.code, self.learns = run, code, learns
        self.looks, self.returncode = 0, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.returncode = self.code

    def poll(self) -> int | None:
        self.looks += 1
        if self.looks == 3 and self.learns:
            (self.run / "model").mkdir()
            (self.run / "model" / "card.yaml").touch()
        return self.code if self.looks > 3 and not self.learns else None


@pytest.mark.parametrize(
    ("code", "learns", "wanted"),
    [(0, True, ["guard", "keep"]), (2, False, []), (3, True, ["guard"])],
)
def test_what_is_made_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, learns: bool, wanted: list[str]
) -> None:
    child, done = Child(tmp_path, code, learns=learns), []

    def guarded(run: Path, *how: Any) -> None:
        assert (run / "model" / "card.yaml").is_file() and how == ("patient", 1)
        done.append("guard")

    monkeypatch.setattr(example_make.subprocess, "Popen", lambda *_, **__: child)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(example_make, "LOOK", 0)
    monkeypatch.setattr(example_make, "guard", guarded)
    monkeypatch.setattr(example_make, "keep", lambda run: done.append("keep"))
    assert example_make.make(PLAN, tmp_path) == code
    assert done == wanted
