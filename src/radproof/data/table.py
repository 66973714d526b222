# SPDX-License-Identifier: Apache-2.0
"""CSV files come from spreadsheets and strangers: every complaint names the line, and nothing in a cell is trusted."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TextIO

from radproof.errors import BadData

MAX_LINE = 65_536  # characters; a longer line is no table of images


@dataclass(frozen=True)
class Row:
    """One line of a table, by column name; columns that the line lacks read as ""."""

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


def read_table(path: Path, required: Sequence[str]) -> list[Row]:
    """All rows of a CSV file with a header, stripped of blanks, with or without a byte-order mark.

    Raises BadData naming the file and what is wrong: missing columns, no rows, not text, a line without an end.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(_lines(stream, path.name), strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_columns(header, required, path.name)
            rows = [
                Row(reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=False) if name})
                for cells in reader
                if any(cell.strip() for cell in cells)
            ]
    except UnicodeDecodeError:
        raise BadData(f"{path.name} is not UTF-8 text; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise BadData(f"{path.name} is not a CSV file ({error}); save it as comma-separated values") from None
    except OSError as error:
        raise BadData(f"cannot read {path.name}: {error.strerror}; check the file and its permissions") from None
    if not rows:
        raise BadData(f"{path.name} has a header but no rows; download or export it again")
    return rows


def inner_path(text: str, *, where: str) -> str:
    """A relative path that stays inside its folder, with forward slashes. Raises BadData for anything else."""
    path = PurePosixPath(text.replace("\\", "/"))
    unsafe = not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
    if unsafe or not text.isprintable():
        raise BadData(f"{where}: {text[:80]!r} is not a path inside the data set; give it relative, without '..'")
    return path.as_posix()


def _lines(stream: TextIO, name: str) -> Iterator[str]:
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise BadData(f"{name} has a line of over {MAX_LINE} characters; that is no table of images")
        yield line


def _check_columns(header: Sequence[str], required: Sequence[str], name: str) -> None:
    missing = [column for column in required if column not in header]
    if missing:
        found = ", ".join(column for column in header[:12] if column) or "nothing"
        raise BadData(f"{name} lacks the column {', '.join(missing)}; found {found}; use the file as it was released")
