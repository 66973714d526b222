# SPDX-License-Identifier: Apache-2.0
"""Reader tests of a server: made, taken trial by trial, told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from radproof.client.asking import API, Asking, named
from radproof.client.http import Refused
from radproof.client.records import Outcome, ReaderProgress, ReaderTest
from radproof.errors import BadInput

Side = Literal["left", "right"]


class Readers(Asking):
    """Whether people can tell attacked images from originals."""

    def reader_tests(self) -> Iterator[ReaderTest]:
        """All of your projects, newest first."""
        return self._all("readers", ReaderTest)

    def reader_test(self, id: str) -> ReaderTest:
        """One test, and how far you are. Raises NotFound."""
        return ReaderTest.model_validate(self._server.call("GET", f"{API}/readers/{named(id)}"))

    def make_reader_test(
        self,
        run: str,
        attack: str,
        budget: str = "",
        *,
        trials: int = 40,
        name: str = "",
        fooling: bool = True,
        seed: int | None = None,
    ) -> ReaderTest:
        """From images of a finished run: an attack at a budget as the images have it, "4/255" or "" for none.

        `fooling`: only images that fooled the model. Readers see the name: let it not tell the attack.
        """
        told = {"run": run, "attack": attack, "budget": budget, "trials": trials, "name": name, "fooling": fooling}
        body = told if seed is None else {**told, "seed": seed}
        return ReaderTest.model_validate(self._server.call("POST", f"{API}/readers", json=body, once=True))

    def remove_reader_test(self, id: str) -> None:
        """Remove a test with all answers."""
        self._remove(f"readers/{named(id)}")

    def trial(self, id: str, number: int, side: Side, path: Path) -> Path:
        """Download one image of a trial, from 1, that is reached. The first one begins the test.

        Until the test is finished or given up, its run is closed to you: Refused (403).
        """
        if side not in ("left", "right"):
            raise BadInput(f"a trial has a left and a right image, no {side!r} one")
        return self._server.download(f"{API}/readers/{named(id)}/trials/{int(number)}/{side}.png", path)

    def answer(self, id: str, number: int, altered: Side, seconds: float) -> ReaderProgress:
        """Which image was altered, once and in order; `seconds`: that it took."""
        body = {"answer": altered, "seconds": seconds}
        try:
            found = self._server.call("POST", f"{API}/readers/{named(id)}/trials/{int(number)}", json=body)
        except Refused as error:
            if error.status != 409 or not error.again or (now := self.reader_test(id)).answered != int(number):
                raise
            return ReaderProgress.model_validate(now.model_dump())
        return ReaderProgress.model_validate(found)

    def give_up(self, id: str) -> ReaderProgress:
        """End a test that you began, for good: your answers do not count, and the run is open to you again."""
        return ReaderProgress.model_validate(self._server.call("POST", f"{API}/readers/{named(id)}/give-up"))

    def outcome(self, id: str, *, maker: bool = False, opened: bool = False) -> Outcome:
        """What came of a test, after your own last answer. Raises Refused (403) before.

        The pool leaves out whoever made the test, unless `maker`, and who had opened the run before, unless `opened`.
        """
        query = {"maker": str(maker).lower(), "opened": str(opened).lower()}
        return Outcome.model_validate(self._server.call("GET", f"{API}/readers/{named(id)}/outcome", query=query))
