# SPDX-License-Identifier: Apache-2.0
"""A model that is kept open to screen: this is what its guarded process does, from the first line to the last."""

from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from radproof.assess.in_use import opened
from radproof.assess.screening import screen_files
from radproof.core.device import resolve
from radproof.core.resident import Desk
from radproof.detectors.guard import Guard
from radproof.detectors.save import load_guard
from radproof.errors import BadInput, BadModel


def serve(model: str, guard: str, image: str, threads: int, requests: str, answers: str) -> None:
    """Open a model and its guard, say what they are, then judge the file `image` as often as it is asked.

    Every request has a `number`, which its answer repeats, and a `view` (or None).
    """
    torch.set_num_threads(threads)
    with suppress(RuntimeError):  # it may be set only once
        torch.set_num_interop_threads(1)
    where = resolve("auto")
    network, card = opened(Path(model), where)
    keeper = load_guard(Path(guard), network, model_fingerprint=network.fingerprint())
    desk = Desk(requests, answers)
    desk.say({"phantom": card.phantom, "by": keeper.suspicion.thresholds.by, "grid": str(keeper.about.grid)})
    for asked in desk:
        desk.say({"number": asked["number"], **answer(keeper, Path(image), asked["view"], where)})


def answer(guard: Guard, image: Path, view: str | None, device: torch.device) -> dict[str, Any]:
    """What is said of one file: a screening or a refusal, and the seconds that it took."""
    began = perf_counter()
    screening, refusal, broken = None, "", ""
    try:
        (judged,) = screen_files(guard, [image], device, view=view)
        found, refusal = judged.said.screening, judged.said.refusal
        if found is not None:
            screening = found.model_dump(mode="json")
    except BadModel as error:
        broken = str(error)
    except BadInput as error:
        refusal = str(error)
    except Exception as error:  # whatever a hostile file makes of a decoder; its words may name a patient
        refusal = f"the file cannot be read as an image ({type(error).__name__}); export it again"
    spoken = refusal.replace(str(image), "the image")
    return {"screening": screening, "refusal": spoken, "broken": broken, "seconds": perf_counter() - began}
