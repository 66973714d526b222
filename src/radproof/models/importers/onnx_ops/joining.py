# SPDX-License-Identifier: Apache-2.0
"""Operators that put values together."""

from typing import Any

import numpy as np
import torch

from radproof.models.importers.onnx_ops.arithmetic import partial
from radproof.models.importers.onnx_ops.table import Call, operator
from radproof.models.importers.onnx_values import objects, rank_of, settled


@operator("Concat")
def _concat(call: Call) -> Any:
    axis = call.axis(1 if rank_of(call[0]) > 1 else 0)
    values = [call[at] for at in range(len(call.inputs))]
    if partial(call):
        return settled(np.concatenate([objects(value) for value in values], axis))
    return call.do(torch.cat, values, axis)
