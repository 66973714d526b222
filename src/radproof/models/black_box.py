# SPDX-License-Identifier: Apache-2.0
"""Models that only answer: a web service, or a file that could not be converted. Nothing climbs their gradients.

Services speak the Open Inference Protocol of KServe, Triton and others (V2), or the older V1 of TensorFlow Serving.
"""

import json
from collections.abc import Callable
from typing import Any, Literal, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
import torch

from radproof.core.records import digest
from radproof.core.types import Head
from radproof.errors import BadModel
from radproof.models.blueprint import Blueprint
from radproof.models.classifier import normalisation, prepared
from radproof.models.predict import Answer, Predictor

Protocol = Literal["v1", "v2"]
Ask = Callable[[np.ndarray], np.ndarray]
"""What a network takes (N, C, H, W) float32, prepared -> its answers (N, K)."""
TIMEOUT = 60.0  # seconds for one answer
MOST_BYTES = 64_000_000  # of one answer
TRIES = 3


class BlackBox(Predictor):
    """Pixels in [0, 1] -> logits, through a function that is shown prepared pixels. Implements core.types.Classifier.

    `blueprint` says how pixels are prepared, `identity` what the fingerprint is made of besides.
    """

    def __init__(self, ask: Ask, blueprint: Blueprint, *, gives: Answer, identity: str, micro_batch: int = 32) -> None:
        self.blueprint, self.identity = blueprint, identity
        mean, std = normalisation(blueprint)

        def answer(pixels: np.ndarray) -> np.ndarray:
            x = prepared(torch.from_numpy(pixels), blueprint, mean, std)
            return _as_classes(np.asarray(ask(x.contiguous().numpy())), len(blueprint.labels), blueprint.head, gives)

        super().__init__(answer, blueprint.labels, blueprint.head, gives=gives, micro_batch=micro_batch)

    def fingerprint(self) -> str:
        """sha256 over the blueprint and what it asks."""
        return digest({"blueprint": self.blueprint.told(), "asks": self.identity})


def endpoint(url: str, protocol: Protocol = "v2") -> Ask:
    """A service at `url` as a function; V2: .../v2/models/NAME/infer, V1: .../v1/models/NAME:predict.

    Redirects are not followed and answers are read up to a limit. Raises BadModel for an address that is none; the
    function raises it where the service does not answer as its protocol says.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise BadModel(f"an endpoint is http://HOST/PATH or https://HOST/PATH without a user's name; got {url[:200]!r}")
    opener = build_opener(_NoRedirects)

    def ask(x: np.ndarray) -> np.ndarray:
        body = json.dumps(_question(x, protocol)).encode()
        request = Request(url, body, {"Content-Type": "application/json", "Accept": "application/json"})
        for left in reversed(range(TRIES)):
            try:
                with opener.open(request, timeout=TIMEOUT) as stream:
                    return _answer(stream.read(MOST_BYTES + 1), protocol)
            except HTTPError as error:
                if error.code < 500 or not left:
                    raise BadModel(f"{parts.hostname} answers {error.code} {error.reason}; check the address") from None
            except (URLError, OSError) as error:
                if not left:
                    raise BadModel(f"{parts.hostname} does not answer ({error}); check that it runs") from None
        raise AssertionError

    return ask


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """No answer is taken from elsewhere than what was named."""


def _question(x: np.ndarray, protocol: Protocol) -> dict[str, Any]:
    if protocol == "v1":
        return {"instances": x.tolist()}
    tensor = {"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.reshape(-1).tolist()}
    return {"inputs": [tensor]}


def _answer(body: bytes, protocol: Protocol) -> np.ndarray:
    if len(body) > MOST_BYTES:
        raise BadModel(f"the service's answer is over {MOST_BYTES:,} bytes; it should be images by classes")
    try:
        told = cast("dict[str, Any]", json.loads(body))
        if protocol == "v1":
            return np.asarray(told["predictions"], np.float64)
        first = told["outputs"][0]
        return np.asarray(first["data"], np.float64).reshape(first["shape"])
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        raise BadModel(f"the service's answer is none of protocol {protocol}; try the other: v1 or v2") from None


def _as_classes(answer: np.ndarray, classes: int, head: Head, gives: Answer) -> np.ndarray:
    """One number per image becomes two classes, the second being what it tells of."""
    if classes != 2 or head != "softmax" or gives == "labels" or answer.size == 0 or answer.size != len(answer):
        return answer
    one = answer.reshape(-1, 1)
    return np.concatenate([1 - one if gives == "probabilities" else np.zeros_like(one), one], axis=1)
