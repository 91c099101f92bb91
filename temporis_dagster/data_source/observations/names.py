"""Names: a column of series names becomes codes, one small integer per row, and the names that they stand for.

Comes in: a column, or the column labels of a wide frame. Goes out: codes, names, faults. Names compare byte by byte.
Never: normalises Unicode, strips, or changes case.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from temporis_dagster.contract import series_name_fault
from temporis_dagster.data_source.observations.advice import Advice
from temporis_dagster.data_source.observations.dtypes import Column, plain
from temporis_dagster.data_source.observations.faults import Fault, printable, where
from temporis_dagster.data_source.observations.model import BLOCK_ROWS, Codes, put, width_for

STOPS_AT_NUL = int(pd.__version__.split(".")[0]) < 3  # noqa: PLR2004  # so does the hash of pandas 2


@dataclass(frozen=True, eq=False)
class Names:
    """Series names after their checks.

    Attributes:
        codes: Index into ``names``, one per row.
        names: The names; an empty one stands for everything that is invalid.
        faults: Rows whose name is missing or invalid.
        round_rows: After how many rows the names begin again, each of them once, to the end; 0 if that is not known.
    """

    codes: Codes
    names: tuple[str, ...]
    faults: list[Fault]
    round_rows: int = 0


def names_of(column: Column, advice: Advice) -> Names:
    """Read a column as series names. Each different name is checked once."""
    codes, uniques, round_rows = _factorize(column)
    wrong = [_fault(unique, advice.names) for unique in uniques]
    faults = [fault for i, reason in enumerate(wrong) if reason for fault in where(codes == i, reason)]
    faults += where(codes < 0, "the series name is missing")
    return Names(codes, _texts(uniques, wrong), faults, round_rows)


def labels_as_names(labels: Sequence[object], advice: Advice) -> tuple[tuple[str, ...], dict[int, str]]:
    """Read the column labels of a wide frame as series names. Return the names, and what is wrong, by column number."""
    wrong = [_fault(label, advice.labels) for label in labels]
    return _texts(labels, wrong), {i: reason for i, reason in enumerate(wrong) if reason}


def _fault(name: object, advice: str) -> str | None:
    fault = series_name_fault(name)
    return f"{fault}: {advice}" if fault and not isinstance(name, str) else fault


def _texts(labels: Iterable[Any], wrong: Iterable[str | None]) -> tuple[str, ...]:
    # str.__str__ turns a subclass, such as a str enum, into the plain text that it equals.
    return tuple("" if fault else str.__str__(label) for label, fault in zip(labels, wrong, strict=True))


def _factorize(column: Column) -> tuple[Codes, Sequence[object], int]:
    """Return the codes, what they stand for, and the rows of a round, as in ``Names``."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes), column.dtype.categories.tolist(), 0
    column = plain(column)
    in_arrow = isinstance(column.dtype, pd.StringDtype) and column.dtype.storage == "pyarrow"
    blocks = [column.iloc[start : start + BLOCK_ROWS] for start in range(0, len(column), BLOCK_ROWS)]
    if in_arrow or all(_hashes_texts_whole(np.asarray(block, dtype=object)) for block in blocks):
        return _repeated(column, in_arrow=in_arrow) or (*_by_pandas(blocks), 0)
    return *_one_by_one(np.asarray(column, dtype=object)), 0


def _repeated(column: Column, *, in_arrow: bool) -> tuple[Codes, Sequence[object], int] | None:
    """Factorize only the beginning of a column that repeats it to the end, as a frame of complete rounds in time does.

    Comparing the column with itself takes much less time than factorizing it: a tenth if it is in Arrow, a quarter if
    it holds objects.
    """
    if len(column) <= BLOCK_ROWS:
        return None
    codes, uniques = pd.factorize(column.iloc[:BLOCK_ROWS])
    starts = np.flatnonzero(codes == codes[0])[:2]
    if len(starts) < 2:  # noqa: PLR2004  # the beginning and its first repetition
        return None
    period = int(starts[1])
    if not np.array_equal(codes[period:], codes[:-period]):
        return None
    if not (_arrow_repeats if in_arrow else _objects_repeat)(column, period):
        return None
    rounds = np.tile(codes[:period].astype(width_for(len(uniques))), -(-len(column) // period))
    return rounds[: len(column)], list(uniques), period if period == len(uniques) else 0


def _arrow_repeats(column: Column, period: int) -> bool:
    import pyarrow as pa

    texts = pa.array(column.array)
    repeats: bool = texts.slice(period).equals(texts.slice(0, len(column) - period))
    return repeats


def _objects_repeat(column: Column, period: int) -> bool:
    texts = np.asarray(column, dtype=object)
    before, after = texts[:-period], texts[period:]
    starts = range(0, len(after), BLOCK_ROWS)
    return all(bool((after[at : at + BLOCK_ROWS] == before[at : at + BLOCK_ROWS]).all()) for at in starts)


def _by_pandas(blocks: Sequence[Column]) -> tuple[Codes, Sequence[object]]:
    """Factorize block by block, because pandas' own codes take 64 bits per row."""
    seen: dict[object, int] = {}
    all_codes: Codes = np.empty(sum(map(len, blocks)), dtype=np.int16)
    for i, block in enumerate(blocks):
        codes, uniques = pd.factorize(block)
        numbers = [seen.setdefault(unique, len(seen)) for unique in uniques] + [-1]
        all_codes = put(np.array(numbers, dtype=width_for(len(seen)))[codes], all_codes, i * BLOCK_ROWS)
    return all_codes, list(seen)


def _hashes_texts_whole(objects: npt.NDArray[np.object_]) -> bool:
    """Return whether ``pd.factorize`` is safe: it fails on lone surrogates, and pandas 2 stops reading at a NUL."""
    try:
        text = "".join(objects.tolist())
        text.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    return not (STOPS_AT_NUL and "\0" in text)


def _one_by_one(objects: npt.NDArray[np.object_]) -> tuple[Codes, Sequence[object]]:
    """Factorize exactly, for columns that hold more than valid text: items are equal if type and content are."""
    seen: dict[tuple[type, object], int] = {}
    uniques: list[object] = []
    codes = np.empty(len(objects), dtype=np.int32)
    for row, item in enumerate(objects):
        if item is None or item is pd.NA or item is pd.NaT or (isinstance(item, float) and math.isnan(item)):
            codes[row] = -1
            continue
        key = (str, str.__str__(item)) if isinstance(item, str) else (type(item), repr(printable(item)))
        codes[row] = seen.setdefault(key, len(uniques))
        if len(seen) > len(uniques):
            uniques.append(item)
    return codes, uniques
