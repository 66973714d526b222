# SPDX-License-Identifier: Apache-2.0
"""Models that only answer: a web service, or a file that could not be converted. Nothing climbs their gradients.

Services speak the Open Inference Protocol of KServe, Triton and others (V2), or the older V1 of TensorFlow Serving.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, Literal, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import numpy as np
import torch

from radproof.core.records import digest
from radproof.core.types import Head
from radproof.errors import BadModel
from radproof.models.blueprint import Blueprint
from radproof.models.classifier import normalisation, prepared
from radproof.models.predict import ROUNDING, Answer, Predictor

Protocol = Literal["v1", "v2"]
Ask = Callable[[np.ndarray], np.ndarray]
"""What a network takes (N, C, H, W) float32, prepared -> its answers (N, K)."""
TIMEOUT = 60.0  # seconds for one answer
MOST_BYTES = 16_000_000  # of one answer
TRIES = 3
PAUSE = 1.0  # seconds before the second try, twice as many before the third


class BlackBox(Predictor):
    """Pixels in [0, 1] -> logits, through a function that is shown prepared pixels. Implements core.types.Classifier.

    `blueprint` says how pixels are prepared, `identity` what the fingerprint is made of besides.
    """

    def __init__(self, ask: Ask, blueprint: Blueprint, *, gives: Answer, identity: str, micro_batch: int = 32) -> None:
        self.blueprint, self.identity = blueprint, identity
        mean, std = normalisation(blueprint)

        def answer(pixels: np.ndarray) -> np.ndarray:
            x = prepared(torch.from_numpy(pixels), blueprint, mean, std)
            told = np.asarray(ask(x.contiguous().numpy()))
            if gives == "labels":
                return _as_indices(told) if blueprint.head == "softmax" else told
            return _as_classes(told, len(blueprint.labels), blueprint.head, gives)

        super().__init__(answer, blueprint.labels, blueprint.head, gives=gives, micro_batch=micro_batch)

    def fingerprint(self) -> str:
        """sha256 over the blueprint and what it asks."""
        return digest({"blueprint": self.blueprint.told(), "asks": self.identity})


def what_it_gives(ask: Ask, blueprint: Blueprint) -> Answer:
    """Whether a function's answers to a few noisy images are probabilities or logits."""
    height, width = blueprint.size
    x = np.random.default_rng(0).normal(size=(4, blueprint.channels, height, width)).astype(np.float32)
    told = np.asarray(ask(x), np.float64).reshape(len(x), -1)
    within = bool(((told >= 0) & (told <= 1)).all())
    sums = told.shape[1] > 1 and bool(np.abs(told.sum(1) - 1).max() < ROUNDING)
    alone = blueprint.head == "sigmoid" or told.shape[1] == 1
    return "probabilities" if within and (sums or alone) else "logits"


def endpoint(
    url: str, protocol: Protocol = "v2", name: str = "input", *, timeout: float = TIMEOUT, pause: float = PAUSE
) -> Ask:
    """A service at `url` as a function; V2: .../v2/models/NAME/infer, V1: .../v1/models/NAME:predict.

    `name` is what a V2 service calls its input.

    Nothing but the service itself is reached: no redirects, no proxies. An answer must be whole within `timeout`
    seconds, and is read up to a limit. Raises BadModel for an address that is none; the function raises it where the
    service does not answer as its protocol says.
    """
    host = _host(url)
    opener = build_opener(_NoRedirects, ProxyHandler({}))

    def once(body: bytes) -> np.ndarray:
        request = Request(url, body, {"Content-Type": "application/json", "Accept": "application/json"})
        until = time.monotonic() + timeout
        with opener.open(request, timeout=timeout) as stream:
            return _answer(_read(stream, until), protocol)

    def ask(x: np.ndarray) -> np.ndarray:
        body = json.dumps(_question(x, protocol, name)).encode()
        for left in reversed(range(TRIES)):
            try:
                return once(body)
            except HTTPError as error:
                error.close()
                if error.code < 500 or not left:
                    raise BadModel(f"{host} answers {error.code}, {_plain(error.reason)}; check the address") from None
            except (OSError, HTTPException) as error:
                if not left:
                    raise BadModel(f"{host} does not answer ({_plain(error)}); check that it runs") from None
            time.sleep(pause * (TRIES - left))
        raise AssertionError

    return ask


def _host(url: str) -> str:
    """Raises BadModel for what is no address."""
    with suppress(ValueError):
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        if known and not parts.username and url.isprintable() and " " not in url:
            return str(parts.hostname)
    raise BadModel(f"an endpoint is http://HOST/PATH or https://HOST/PATH without a user's name; got {url[:200]!r}")


def _plain(said: object) -> str:
    """What a service or the network says, so that it cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(said)[:200])


def _read(stream: HTTPResponse, until: float) -> bytes:
    """The whole answer, though it drips."""
    body = bytearray()
    while piece := stream.read1(65_536):
        body += piece
        if len(body) > MOST_BYTES:
            raise BadModel(f"the service's answer is over {MOST_BYTES:,} bytes; it should be images by classes")
        if time.monotonic() > until:
            raise TimeoutError("the answer has no end")
    if stream.length:
        raise IncompleteRead(bytes(body), stream.length)
    return bytes(body)


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """No answer is taken from elsewhere than what was named."""


def _question(x: np.ndarray, protocol: Protocol, name: str) -> dict[str, Any]:
    if protocol == "v1":
        return {"instances": x.tolist()}
    tensor = {"name": name, "shape": list(x.shape), "datatype": "FP32", "data": x.reshape(-1).tolist()}
    return {"inputs": [tensor]}


def _answer(body: bytes, protocol: Protocol) -> np.ndarray:
    """Numbers, or names where the service gives labels."""
    try:
        told = cast("dict[str, Any]", json.loads(body))
        first = {"data": told["predictions"]} if protocol == "v1" else told["outputs"][0]
        values = np.asarray(first["data"])
        if values.dtype.kind not in "biufU":
            raise TypeError
        return values.reshape(first["shape"]) if protocol == "v2" else values
    except (KeyError, IndexError, TypeError, ValueError, RecursionError, OverflowError):
        raise BadModel(f"the service's answer is none of protocol {protocol}; try the other: v1 or v2") from None


def _as_classes(answer: np.ndarray, classes: int, head: Head, gives: Answer) -> np.ndarray:
    """One number per image becomes two classes, the second being what it tells of."""
    if classes != 2 or head != "softmax" or answer.ndim not in (1, 2) or answer.size != len(answer):
        return answer
    one = answer.reshape(-1, 1).astype(np.float64)
    return np.concatenate([1 - one if gives == "probabilities" else np.zeros_like(one), one], axis=1)


def _as_indices(answer: np.ndarray) -> np.ndarray:
    """Classes by number, which services often write as 1.0, and in a column."""
    flat = answer.reshape(-1) if answer.ndim == 2 and answer.size == len(answer) else answer
    whole = flat.dtype.kind == "f" and bool(np.isfinite(flat).all()) and bool((flat == flat.round()).all())
    return flat.astype(np.int64) if whole and bool((abs(flat) < 1e9).all()) else flat
