# SPDX-License-Identifier: Apache-2.0
"""A model that is kept open to draw: what a run's network looks at, and what its defence hands on, image by image.

This is what its guarded process does. A picture is answered as grey levels, line by line, since nobody outside is to
decode what a stranger's file made.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radproof.assess.contenders import in_front
from radproof.assess.in_use import opened
from radproof.assess.parts import settle_all
from radproof.assess.sections import Part
from radproof.assess.views import cleaned, explained, levels
from radproof.core.device import resolve
from radproof.core.resident import Desk
from radproof.core.rng import generator
from radproof.core.types import Defense
from radproof.data.images import decode_image
from radproof.defenses import defense
from radproof.errors import BadInput, BadModel
from radproof.models.assembly import answering
from radproof.models.classifier import ImageClassifier

PIECE = 96_000  # bytes of a picture in one line


def serve(
    model: str, fingerprint: str, labels: Sequence[str], image: str, threads: int, requests: str, answers: str
) -> None:
    """Open the model that the run assessed, then draw of the file `image` as often as it is asked.

    Every request is what `draw` takes, and a `number`, which its answer repeats.
    """
    torch.set_num_threads(threads)
    with suppress(RuntimeError):  # it may be set only once
        torch.set_num_interop_threads(1)
    where = resolve("auto")
    network = answering(opened(Path(model), where)[0], labels)
    if network.fingerprint() != fingerprint:
        raise BadModel("the model is no longer the one that this run assessed, so its pictures cannot be drawn")
    desk = Desk(requests, answers)
    desk.say({"ready": True})
    for asked in desk:
        number, told = asked.pop("number"), {"refusal": "", "height": 0, "width": 0, "channels": 0}
        grid = None
        try:
            grid = draw(network, Path(image).read_bytes(), where, **asked)
            told |= {"height": grid.shape[0], "width": grid.shape[1], "channels": grid.shape[2]}
        except BadInput as error:
            told["refusal"] = str(error).replace(image, "the image")
        except Exception as error:  # its words may repeat the file's
            told["refusal"] = f"the picture cannot be drawn ({type(error).__name__})"
        desk.say({"number": number, **told})
        for piece in pieces(grid) if grid is not None else ():
            desk.say({"number": number, "piece": piece})


def draw(
    network: ImageClassifier,
    content: bytes,
    device: torch.device,
    *,
    kind: str,
    top: int,
    channels: int,
    class_: int | None = None,
    defenses: Sequence[Mapping[str, Any]] = (),
    label: str = "",
    preset: str = "",
    seed: Sequence[Any] = (),
) -> np.ndarray:
    """(H, W, C) uint8 of a stored image whose levels end at `top` (0: at what its bits can hold).

    `kind` "defended": behind the defence called `label`, or behind all of them in order where there is no label;
    otherwise Grad-CAM for class number `class_`, or for what the network answers. Raises BadInput.
    """
    x = _image(content, top, channels).to(device)
    if kind == "defended":
        shown = cleaned(_defense(defenses, label, preset), x, generator(*seed, device=device))
    else:
        if class_ is None:
            with torch.no_grad():
                class_ = int(network(x)[0].argmax())
        shown = explained(network, x, torch.as_tensor([class_]))
    return np.ascontiguousarray(levels(shown).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def pieces(grid: np.ndarray) -> Iterator[str]:
    """Its bytes as base64, a line's worth at a time."""
    raw = grid.tobytes()
    for start in range(0, len(raw), PIECE):
        yield base64.b64encode(raw[start : start + PIECE]).decode()


def _image(content: bytes, top: int, channels: int) -> Tensor:
    stored = decode_image(content)
    planes = np.ascontiguousarray(stored.pixels.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(planes / np.float32(top or stored.top)).expand(channels, -1, -1)[None].contiguous()


def _defense(told: Sequence[Mapping[str, Any]], label: str, preset: str) -> Defense:
    settled = settle_all([Part.model_validate(one) for one in told], defense, preset)
    if label and label not in settled:
        raise BadInput("this version of radproof calls the run's defences otherwise; run its plan again")
    made = in_front({label: settled[label]} if label else settled)[0]
    if made is None:
        raise BadInput("no defence stands in front of the network")
    return made
