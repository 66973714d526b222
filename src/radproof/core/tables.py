# SPDX-License-Identifier: Apache-2.0
"""Parquet tables that a stranger may have written: what they unpack to is known before they are unpacked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from radproof.errors import BadData

ROWS, BYTES = 5_000_000, 2_000_000_000
_TEXT = "BYTE_ARRAY"


def read_table(path: Path, columns: Sequence[str] | None = None, *, cells: int) -> Any:
    """A table, or some of its columns. Raises BadData beyond 5 million rows, `cells` values or 2 GB; pa.ArrowException.

    Texts are first read as a dictionary and numbers into it, as a file of a few kB can name one text a million times.
    """
    with pq.ParquetFile(path) as file:
        facts = file.metadata
    leaves = [facts.schema.column(number) for number in range(facts.num_columns)]
    wanted = [i for i, leaf in enumerate(leaves) if columns is None or leaf.path.split(".")[0] in columns]
    chunks = [facts.row_group(group).column(i) for group in range(facts.num_row_groups) for i in wanted]
    _check(path, "rows", facts.num_rows, ROWS)
    _check(path, "values", max(facts.num_rows * len(wanted), sum(chunk.num_values for chunk in chunks)), cells)
    _check(path, "bytes", sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups)), BYTES)
    texts = [leaf.path for leaf in leaves if leaf.physical_type == _TEXT]
    told = None if columns is None else list(columns)
    narrow = pq.read_table(path, columns=told, read_dictionary=texts)
    _check(path, "bytes", sum(_bytes(chunk) for column in narrow.columns for chunk in column.chunks), BYTES)
    return pq.read_table(path, columns=told)


def _bytes(values: Any) -> int:
    """What an array takes with every text written out."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return values.nbytes + _bytes(values.flatten())
    if not pa.types.is_dictionary(values.type):
        return values.nbytes
    import pyarrow.compute as pc

    compute: Any = pc
    lengths = compute.binary_length(values.dictionary).cast(pa.int64())
    return values.nbytes + (compute.sum(lengths.take(values.indices)).as_py() or 0)


def _check(path: Path, what: str, found: int, most: int) -> None:
    if found > most:
        raise BadData(
            f"{path.name} announces {found:,} {what}, more than the limit of {most:,} (a decompression bomb?); "
            "check where it is from"
        )
