# SPDX-License-Identifier: Apache-2.0
"""onnxruntime, asked the same way each time: one thread, the CPU, the checked bytes and never a path."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from radproof.errors import BadInput, BadModel
from radproof.models.importers.onnx_signature import Signature

if TYPE_CHECKING:
    from onnx import ModelProto

Array = np.ndarray[Any, Any]
_KINDS = {1: np.float32, 10: np.float16, 11: np.float64}


class Session:
    """The original network: (N, C, H, W) float32 -> (N, K) float32. Raises BadModel where the runtime refuses."""

    def __init__(self, model: "ModelProto", signature: Signature, outputs: tuple[str, ...] = ()) -> None:
        try:
            import onnxruntime as ort
        except ImportError:
            raise BadInput("running ONNX models needs the onnx packages: pip install 'radproof[onnx]'") from None
        options: Any = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        if signature.kind not in _KINDS:
            raise BadModel(f"the network takes images as ONNX type {signature.kind}, which onnxruntime is not given")
        self._kind = _KINDS[signature.kind]
        self._signature, self._outputs = signature, list(outputs or (signature.output,))
        self._alone = any(node.op_type.startswith("DynamicQuantize") for node in model.graph.node)
        try:
            self._session: Any = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class for each status
            raise BadModel(f"onnxruntime refuses the model: {' '.join(str(error).split())[:300]}") from None

    def run(self, images: Array) -> list[Array]:
        """All outputs for one batch as the file takes it."""
        given = np.ascontiguousarray(images.transpose(0, 2, 3, 1) if self._signature.last else images, self._kind)
        try:
            return self._session.run(self._outputs, {self._signature.input: given})
        except Exception as error:  # onnxruntime has a class for each status
            raise BadModel(f"onnxruntime cannot run the model: {' '.join(str(error).split())[:300]}") from None

    def ask(self, images: Array) -> Array:
        """(N, C, H, W) -> (N, K) float32, in pieces of the size that the file takes.

        A file whose steps of rounding follow from all images of a batch is asked about one image at a time.
        """
        step = self._signature.batch or (1 if self._alone else max(len(images), 1))
        taken = 1 if self._alone else step
        found = [self._piece(images[at : at + taken], step) for at in range(0, len(images), taken)]
        return np.concatenate(found)

    def _piece(self, images: Array, step: int) -> Array:
        short = step - len(images)
        whole = np.concatenate([images, np.repeat(images[-1:], short, 0)]) if short else images
        found = np.asarray(self.run(whole)[0], np.float32)
        if found.ndim == 0 or len(found) != step:
            raise BadModel(f"the network gives {found.shape} for {step} images, expected one row of answers per image")
        return found.reshape(step, -1)[: len(images)]


class Exact:
    """The original's own logits of tensors, without gradient, none above `most`."""

    def __init__(self, session: Session, most: float = math.inf) -> None:
        self._session, self._most = session, most

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K), on the device of x."""
        found = self._session.ask(x.detach().to("cpu", torch.float32).numpy())
        return torch.from_numpy(found).clamp(max=self._most).to(x.device)
