# SPDX-License-Identifier: Apache-2.0
"""The parts of a form with files, one after another, straight to where they wait; limits hold while they come."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

from python_multipart.multipart import MultipartParser, parse_options_header

from radproof.api.http.contents import HEAD, Check
from radproof.api.http.problems import Problem
from radproof.store.incoming import Incoming, Staged

PARTS = 16  # of a form
_HEADERS, _LINE = 8, 4096  # of a part; bytes of one header
Form = tuple[str, dict[str, str], dict[str, Staged]]


class Place(Protocol):
    """Where the files of a form come in."""

    @property
    def most(self) -> int:
        """Bytes of a file that has no limit of its own."""
        ...

    def home(self, fields: Mapping[str, str]) -> str:
        """Whose they will be, by what stood before the first of them."""
        ...

    def incoming(self, home: str, most: int) -> AbstractContextManager[Incoming]:
        """A file that may have so many bytes."""
        ...


class Taker:
    """Takes a form apart; `feed` it, then `end`. Not for two threads at once."""

    def __init__(
        self,
        boundary: bytes,
        files: Mapping[str, tuple[Check, int | None]],
        fields: Mapping[str, int],
        place: Place,
        stack: ExitStack,
    ) -> None:
        self._kinds, self._longest, self._place, self._stack = files, fields, place, stack
        self._fields: dict[str, str] = {}
        self._files: dict[str, Staged] = {}
        self._project = ""
        self._parts, self._ended = 0, False
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name, self._text, self._head = "", bytearray(), bytearray()
        self._file: Incoming | None = None
        self._suffix, self._unnamed = "", False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._opened,
                "on_part_data": lambda data, start, end: self._data(data[start:end]),
                "on_part_end": self._closed,
                "on_end": self._whole,
            },
            max_header_count=_HEADERS,
            max_header_size=_LINE,
        )

    def feed(self, piece: bytes) -> None:
        """More of the form."""
        self._parser.write(piece)

    def end(self) -> Form:
        """Project, fields and files of a form that came whole."""
        self._parser.finalize()
        if not self._ended:
            raise Problem(400, "the form ends in the middle of a part")
        return self._home(), self._fields, self._files

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS:
            raise Problem(413, f"the form has more than {PARTS} parts; expected {self._known()}")
        self._disposition = b""

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _opened(self) -> None:
        """A part's headers are through."""
        kind, told = parse_options_header(self._disposition)
        name = told.get(b"name", b"").decode("ascii", "replace")
        if kind != b"form-data" or name not in (*self._kinds, *self._longest):
            raise Problem(422, f"the form has a part that is not known here; expected {self._known()}")
        if name in self._fields or name in self._files:
            raise Problem(422, f"the form has two parts {name}; expected one of each")
        self._name, self._unnamed = name, told.get(b"filename") == b""
        self._text.clear()
        self._head.clear()
        if name in self._kinds:
            self._file = self._incoming(self._kinds[name][1])

    def _incoming(self, most: int | None) -> Incoming:
        place = self._place
        return self._stack.enter_context(place.incoming(self._home(), place.most if most is None else most))

    def _data(self, piece: bytes) -> None:
        if self._file is None:
            if len(self._text) + len(piece) > 4 * self._longest[self._name]:
                raise self._too_long()
            self._text += piece
            return
        if len(self._head) < HEAD:
            self._head += piece[: HEAD - len(self._head)]
            if len(self._head) == HEAD:
                self._suffix = self._kinds[self._name][0](bytes(self._head))
        self._file.write(piece)

    def _closed(self) -> None:
        if self._file is None:
            self._keep_text()
        elif self._file.size or not self._unnamed:  # a browser sends an empty part for a file that was not chosen
            if len(self._head) < HEAD:
                self._suffix = self._kinds[self._name][0](bytes(self._head))
            self._files[self._name] = self._file.finish(self._suffix)
        self._file = None

    def _keep_text(self) -> None:
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise Problem(422, f"{self._name}: not UTF-8") from None
        if len(text) > self._longest[self._name]:
            raise self._too_long()
        if self._name == "project" and self._project:
            raise Problem(422, "project: it has to stand before the files")
        self._fields[self._name] = text

    def _whole(self) -> None:
        self._ended = True

    def _home(self) -> str:
        self._project = self._project or self._place.home(self._fields)
        return self._project

    def _too_long(self) -> Problem:
        return Problem(422, f"{self._name}: longer than {self._longest[self._name]} characters")

    def _known(self) -> str:
        return ", ".join(name for name in (*self._kinds, *self._longest) if name != "csrf_token")
