# SPDX-License-Identifier: Apache-2.0
"""Exported programs of torch, .pt2, read as data.

torch's own loader runs pickles (of sample inputs, of odd weights) and evaluates expressions that the file holds. Here
the program's JSON is checked and rebuilt call by call, only from torch's own aten operators, and weights are taken as
raw bytes; sample inputs and sizes written as expressions are never opened.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule

from radproof.errors import BadModel
from radproof.models.graph import notes_of, take_off, tidy
from radproof.models.imported import Imported
from radproof.models.importers.archives import listing, read_entry
from radproof.models.importers.kinds import refusal, what_is
from radproof.models.importers.pt2_batch import Takes, permuted, widened
from radproof.models.importers.pt2_graph import Program, rebuilt
from radproof.models.importers.pt2_weights import Archive, weights_of
from radproof.models.weights import refuse_nan

_JSON = 2**28
_COMPILED = re.compile(r"(^|/)(data/)?aotinductor/|\.(so|o|a|dll|dylib|cubin|hsaco|cpp|ptx)$")


def read_pt2(path: Path) -> Imported:
    """The network of an exported program, proved to run.

    Raises BadModel for a file that could run code, that holds compiled code, other operators than torch's own, or
    more than it has; for several inputs or outputs; and for one that takes no image.
    """
    path = Path(path)
    kind = what_is(path)
    if kind != "pt2":
        raise BadModel(refusal(path, kind) or f"{path.name} is no exported program, but {kind}")
    archive = _opened(path)
    program = Program(path.name, _document(path, archive))
    weights = weights_of(archive, program)
    refuse_nan(path.name, weights)
    takes = Takes.of(program.given, path.name)
    graph = tidy(permuted(rebuilt(program, weights), takes))
    graph, head, note = take_off(graph)
    notes = [*notes_of(graph), note or ""]
    graph, batch, told = widened(graph, takes, path.name)
    classes = _classes(graph, takes, batch, path.name)
    notes = tuple(dict.fromkeys(text for text in (*notes, told) if text))
    return Imported(graph, takes.channels, takes.size, classes, batch, head, notes=notes)


def _opened(path: Path) -> Archive:
    entries = listing(path)
    compiled = next((name for name in entries if _COMPILED.search(name)), None)
    if compiled:
        raise BadModel(
            f"{path.name} holds compiled code ({compiled[-60:]!r}), which radproof does not run; export the network "
            "with torch.export.save, without AOTInductor"
        )
    old = "serialized_exported_program.json"
    if old in entries:
        return Archive(path, entries, "", old)
    roots = {name.partition("/")[0] for name in entries if name.endswith("/archive_format")} or {""}
    root = f"{min(roots)}/" if min(roots) else ""
    programs = [name for name in entries if re.fullmatch(re.escape(root) + r"models/[^/]+\.json", name)]
    if len(programs) != 1 or len(roots) != 1:
        raise BadModel(f"{path.name} holds {len(programs)} programs, expected one; export the network by itself")
    return Archive(path, entries, root, programs[0])


def _document(path: Path, archive: Archive) -> Mapping[str, Any]:
    try:
        found = json.loads(read_entry(path, archive.program, _JSON))
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path.name} is damaged: its program is no JSON ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise BadModel(f"{path.name} is damaged: its program is no JSON object")
    return cast(Mapping[str, Any], found)


def _classes(graph: GraphModule, takes: Takes, batch: int | None, name: str) -> int:
    try:
        with torch.no_grad():
            answer: Any = graph(takes.images(batch or 3))
    except Exception as error:  # whatever an operator raises of arguments that do not go together
        said = " ".join(str(error).split())[:160]
        raise BadModel(f"{name} breaks off where it is run: {type(error).__name__}: {said}") from None
    if not isinstance(answer, Tensor) or answer.dim() != 2 or len(answer) != (batch or 3):
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise BadModel(f"{name} answers {shape} to {batch or 3} images; expected (N, K), one number for each class")
    return answer.shape[1]
