"""Small ONNX files made for tests: nodes as text, weights as arrays; and onnxruntime asked directly."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper


def _made(
    path: Path,
    nodes: str,
    *,
    opset: int = 17,
    shape: tuple[int | str, ...] = ("N", 3, 9, 11),
    weights: dict[str, np.ndarray] | None = None,
    end: str = "out = Flatten(y)",
    kind: int = onnx.TensorProto.FLOAT,
) -> Path:
    """A file whose nodes lead from x to y; `end` makes out of it."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]> g () => () {{ {nodes} {end} }}'
    model = onnx.parser.parse_model(text)
    model.graph.input.append(helper.make_tensor_value_info("x", kind, shape))
    model.graph.output.append(helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ("N", "K")))
    for name, array in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    path.write_bytes(model.SerializeToString())
    return path


def _asked(path: Path, x: torch.Tensor) -> torch.Tensor:
    """onnxruntime's own answer."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


@pytest.fixture(scope="session")
def made():
    """Writes a small file from nodes told as text."""
    return _made


@pytest.fixture(scope="session")
def asked():
    """Asks onnxruntime."""
    return _asked
