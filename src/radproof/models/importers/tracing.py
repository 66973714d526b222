# SPDX-License-Identifier: Apache-2.0
"""A torch module as a graph: traced by its own code, or else exported; proved to answer as the module does."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Tracer

from radproof.errors import BadModel

USUAL_SIZE = (224, 224)
_OTHER = (160, 192)
_BATCH = 2**15
_TOLERANCE = 1e-4


class _Tracer(Tracer):
    """Leaves whole what timm says cannot be traced: it asks for sizes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        from timm.layers._fx import get_notrace_modules

        return type(m) in get_notrace_modules() or super().is_leaf_module(m, module_qualified_name)


def traced(
    network: nn.Module, channels: int, size: tuple[int, int] | None, name: str
) -> tuple[GraphModule, tuple[int, int] | None]:
    """The graph, and the only size that it takes; None: any. Raises BadModel where neither way answers alike."""
    any_size = size is None and _runs(network, channels, _OTHER)
    size = None if any_size else size or USUAL_SIZE
    example = _images(2, channels, size or USUAL_SIZE)
    tried: list[str] = []
    for way in (_symbolic, _exported_any, _exported):
        if way is _exported_any and not any_size:
            continue
        try:
            graph = way(network, example)
        except Exception as error:  # tracers raise whatever a network's code makes of their stand-ins
            tried.append(" ".join(str(error).split())[:120])
            continue
        free = None if any_size and way is not _exported else size or USUAL_SIZE
        if _same(graph, network, channels, free):
            return graph, free
    why = tried[-1] if tried else "it answers otherwise as a graph"
    raise BadModel(f"{name}: this network cannot be written as one torch graph ({why}); give it as ONNX")


def _symbolic(network: nn.Module, example: Tensor) -> GraphModule:
    from timm.layers._fx import get_notrace_functions

    tracer = _Tracer(autowrap_functions=tuple(get_notrace_functions()))
    return GraphModule(network, tracer.trace(network))


def _exported_any(network: nn.Module, example: Tensor) -> GraphModule:
    free = torch.export.Dim.AUTO
    return _export(network, example, {2: free, 3: free})


def _exported(network: nn.Module, example: Tensor) -> GraphModule:
    return _export(network, example, {})


def _export(network: nn.Module, example: Tensor, free: dict[int, Any]) -> GraphModule:
    count = torch.export.Dim("n", min=1, max=_BATCH)
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=({0: count, **free},), strict=False)
    graph = program.module(check_guards=False)
    for name in ("train", "eval"):  # an exported module's own only refuse
        vars(graph).pop(name, None)
    return graph


def _runs(network: nn.Module, channels: int, size: tuple[int, int]) -> bool:
    try:
        with torch.no_grad():
            network(_images(1, channels, size))
    except Exception:  # a layer that knows one size only says so in its own way
        return False
    return True


def _same(graph: GraphModule, network: nn.Module, channels: int, size: tuple[int, int] | None) -> bool:
    images = _images(3, channels, size or _OTHER)
    try:
        with torch.no_grad():
            ours, theirs = graph(images), network(images)
    except Exception:  # a traced graph may hold on to the size or number of its example
        return False
    return isinstance(theirs, Tensor) and torch.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE)


def _images(count: int, channels: int, size: tuple[int, int]) -> Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(0))
