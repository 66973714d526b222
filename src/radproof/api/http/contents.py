# SPDX-License-Identifier: Apache-2.0
"""What an upload is, by how its bytes begin; what it is called says nothing. Nothing is opened here."""

from collections.abc import Callable

from radproof.api.http.problems import Problem

HEAD = 1024  # bytes that are enough to tell
MODELS = "a .zip of radproof's own folder, or a .safetensors, .pt, .pt2, .onnx, .keras or .h5 file"
DATA = "a .zip of images"
_ONNX = (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x3a", b"\x42")  # fields of its ModelProto that follow the version
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"<", "a web page, a drawing (SVG) or another text with marks"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"#!", "a program"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a compressed file or archive"),
    (b"BZh", "a compressed file or archive"),
    (b"\xfd7zXZ", "a compressed file or archive"),
    (b"7z\xbc\xaf", "a compressed file or archive"),
    (b"Rar!", "a compressed file or archive"),
    (b"\x28\xb5\x2f\xfd", "a compressed file or archive"),
    (b"PK\x05\x06", "an empty archive"),
    (b"PK\x07\x08", "a part of an archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x89PNG", "a single image"),
    (b"\xff\xd8\xff", "a single image"),
    (b"\x80", "a pickle, which can run code when it is opened"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself"),
)


def model_suffix(head: bytes) -> str:
    """The suffix under which a model file is kept. Raises Problem 415 for what is none."""
    if head.startswith(b"PK\x03\x04"):
        return ".zip"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return ".h5"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 30:
        return ".safetensors"
    if head[:1] == b"\x08" and len(head) > 2 and 1 <= head[1] <= 40 and head[2:3] in _ONNX:
        return ".onnx"
    raise _refusal(head, MODELS)


def data_suffix(head: bytes) -> str:
    """The suffix .zip. Raises Problem 415 for anything else."""
    if head.startswith(b"PK\x03\x04"):
        return ".zip"
    raise _refusal(head, DATA)


def text_suffix(head: bytes) -> str:
    """No suffix, for a text that is read as a table or a card. Raises Problem 415 for NULs, marks and archives."""
    if b"\0" in head or any(head.startswith(start) for start, _ in _OTHERS):
        raise _refusal(head, "a text file")
    return ""


Check = Callable[[bytes], str]


def _refusal(head: bytes, wanted: str) -> Problem:
    bare = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    what = next((name for start, name in _OTHERS if head.startswith(start) or bare.startswith(start)), "")
    return Problem(415, f"the file is {what or ('no kind known here' if head else 'empty')}; expected {wanted}")
