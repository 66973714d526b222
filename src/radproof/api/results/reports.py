# SPDX-License-Identifier: Apache-2.0
"""A finished run's report in every format, without the server's paths, and cells that no spreadsheet runs."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pc

from radproof.api.http.problems import Problem
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.api.results.finished import ROWS, Stamp, finished, folder, result_text, scrubbed_file, stamp
from radproof.api.results.table import CELLS
from radproof.core.tables import read_table
from radproof.store.settings import Settings
from radproof.store.tables import Run

Format = Literal["html", "pdf", "json", "csv", "md", "junit.xml", "sarif"]
MEDIA: dict[Format, str] = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "junit.xml": "application/xml",
    "sarif": "application/sarif+json",
}
FILES: dict[Format, str] = {
    "html": "report.html",
    "pdf": "report.pdf",
    "md": "summary.md",
    "junit.xml": "gate.junit.xml",
    "sarif": "gate.sarif",
}
CSP = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TABLES: BoundedCache[bytes] = BoundedCache(2, 32 * MEBIBYTE, len)
_LEFT_OUT = ("logits", "chain", "file")
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


@dataclass(frozen=True)
class Report:
    """What is sent."""

    content: bytes
    media: str
    headers: dict[str, str]


def report(settings: Settings, run: Run, form: Format) -> Report:
    """One format of the report. Raises Problem 404 with the reason where there is none."""
    makers: dict[str, Callable[[], bytes]] = {
        "json": lambda: result_text(settings, run).encode(),
        "csv": lambda: _csv(finished(settings, run, ROWS), run.id),
    }
    content = makers[form]() if form in makers else _file(settings, run, form)
    where = "inline" if form == "html" else "attachment"
    headers = {"Content-Disposition": f'{where}; filename="{run.id}.{form}"', "X-Content-Type-Options": "nosniff"}
    if form == "html":
        headers["Content-Security-Policy"] = CSP
    return Report(content, MEDIA[form], headers)


def _file(settings: Settings, run: Run, form: Format) -> bytes:
    finished(settings, run)
    found = stamp(folder(settings, run) / FILES[form])
    if found is None:
        reasons = {
            "junit.xml": "this run's plan has no gate, so there are no promises to test",
            "sarif": "this run's plan has no gate, so there are no promises to test",
            "pdf": "no PDF was drawn: the worker has no renderer for it; take the HTML report and print it",
        }
        raise Problem(404, reasons.get(form, "this part of the report is not there; retry the run"))
    if form == "pdf":
        return found.path.read_bytes()
    return scrubbed_file(found, settings.home.resolve()).encode()


def _csv(file: Stamp, run: str) -> bytes:
    return _TABLES.get((file, run), lambda: rows_csv(file, run))


def rows_csv(file: Stamp, run: str) -> bytes:
    """One line per image, attack and scorer; patients are numbered anew for each run, texts cannot be formulas."""
    try:
        table = read_table(file.path, cells=CELLS)
    except (OSError, pa.ArrowException) as error:
        raise Problem(404, "the table of this run's images cannot be read; retry the run") from error
    for name in table.schema.names:
        if name in _LEFT_OUT:
            table = table.drop_columns([name])
        elif pa.types.is_string(table.schema.field(name).type) or pa.types.is_large_string(
            table.schema.field(name).type
        ):
            change = (lambda text: _pseudonym(run, text)) if name == "patient" else safe
            table = table.set_column(table.schema.get_field_index(name), name, _changed(table[name], change))
    stream = io.BytesIO()
    pc.write_csv(table, stream)
    return stream.getvalue()


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_RISKY) else text


def _pseudonym(run: str, patient: str) -> str:
    return hashlib.sha256(f"{run} {patient}".encode()).hexdigest()[:12] if patient else ""


def _changed(column: Any, change: Callable[[str], str]) -> Any:
    encoded = column.dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    values = pa.array([None if text is None else change(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return values.take(encoded.indices)
