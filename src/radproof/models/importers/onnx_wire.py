# SPDX-License-Identifier: Apache-2.0
"""What a protobuf file would unfold to, told from its bytes: nothing is allocated for it yet.

A message without content takes two bytes in the file and a hundred in memory, and a packed number one and eight: a
parser is given a file only after its messages and numbers were counted.
"""

from radproof.errors import BadModel

MOST_FIELDS = 1_000_000
MOST_NUMBERS = 1 << 29  # bytes of packed numbers, each of which may take eight in memory

# Field numbers of onnx.proto that hold messages: number -> kind of message.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "leaf", 14: "leaf", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph", 3: "leaf", 4: "leaf"},
    "graph": {1: "node", 5: "tensor", 11: "leaf", 12: "leaf", 13: "leaf", 14: "leaf", 15: "sparse", 16: "leaf"},
    "function": {7: "node", 9: "leaf", 11: "attribute", 12: "leaf", 14: "leaf"},
    "node": {5: "attribute", 9: "leaf"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        14: "leaf",
        15: "leaf",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {3: "leaf", 13: "leaf", 16: "leaf"},
    "leaf": {},
}
_PACKED = {"tensor": (1, 4, 5, 7, 10, 11), "attribute": (7, 8), "sparse": (3,)}


def refuse_bombs(data: bytes, name: str) -> None:
    """Raises BadModel for bytes that are no protobuf, or that would unfold beyond all measure."""
    fields, numbers = 0, 0
    todo = [("model", 0, len(data))]
    while todo:
        kind, at, end = todo.pop()
        while at < end:
            tag, at = _varint(data, at, end, name)
            number, wire = tag >> 3, tag & 7
            fields += 1
            if fields > MOST_FIELDS:
                raise BadModel(f"{name} holds more than {MOST_FIELDS} fields; expected an ONNX file of one network")
            if wire == 2:
                length, at = _varint(data, at, end, name)
                if at + length > end:
                    raise _broken(name)
                inner = _MESSAGES[kind].get(number)
                if inner is not None:
                    todo.append((inner, at, at + length))
                elif number in _PACKED.get(kind, ()):
                    numbers += length
                at += length
            else:
                at = _skip(data, at, end, wire, name)
    if numbers > MOST_NUMBERS:
        raise BadModel(f"{name} holds {numbers} bytes of packed numbers, at most {MOST_NUMBERS} are read")


def _skip(data: bytes, at: int, end: int, wire: int, name: str) -> int:
    if wire == 0:
        return _varint(data, at, end, name)[1]
    if wire not in (1, 5):
        raise _broken(name)
    at += 8 if wire == 1 else 4
    if at > end:
        raise _broken(name)
    return at


def _varint(data: bytes, at: int, end: int, name: str) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise _broken(name)


def _broken(name: str) -> BadModel:
    return BadModel(f"{name} is not a whole ONNX file; export the model again")
