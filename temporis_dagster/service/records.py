"""Records: turn the JSON of an ingest into observations, or into a fault that names the record.

Comes in: the bytes of a body. Goes out: the name of a data source and observations, the last per (timestamp, name).
Never: looks anything up, or accepts a number that the store would change.

The rules of ``contract`` are built into the typed decoder, which stops at the first fault. choice: only that fault is
named; unknown keys are ignored, as in FastAPI; a Content-Type other than JSON is refused; the last one counts if a key
occurs twice in one JSON object, or if two records have the same (timestamp, name).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
from msgspec import Meta

from temporis_dagster.contract import EXACT_INTEGER_LIMIT, FIRST_TIMESTAMP, TIMESTAMP_LIMIT, series_name_fault
from temporis_dagster.data_source.observations.model import Observations, Origin
from temporis_dagster.data_source.observations.repeated_keys import key_order
from temporis_dagster.data_source.store.chunks import CHUNK_ROWS

MAX_RECORDS = CHUNK_ROWS
"""Records per request: as many as the store writes in one transaction, so that a request is stored as a whole or not
at all."""

RULES = {
    "timestamp": "A timestamp must be an integer of Unix seconds. Divide milliseconds by 1000.",
    "name": "A name must be a string that is not empty and has no NUL character.",
    "value": "A value must be a finite number. Send an integer beyond 2**53 as a float if it may be rounded.",
    "data_source": "The data source must be a string.",
    "records": "The records must be a list of objects with a timestamp, a name and a value.",
}
AT = re.compile(r"(?P<words>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
MISSING = re.compile(r"Object missing required field `(\w+)`")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
BYTE = re.compile(r" \(byte (\d+)\)$")


class Record(msgspec.Struct, gc=False):
    """One observation, as in the API."""

    timestamp: Annotated[int, Meta(ge=FIRST_TIMESTAMP, lt=TIMESTAMP_LIMIT)]
    name: str
    value: Annotated[int, Meta(ge=-EXACT_INTEGER_LIMIT, le=EXACT_INTEGER_LIMIT)] | float


class Body(msgspec.Struct):
    """An ingest, as in the API."""

    data_source: str
    records: list[Record]


class Head(msgspec.Struct):
    """Only the data source of an ingest with invalid records.

    A missing or archived data source (404, 409) is reported before invalid records (422).
    """

    data_source: str


class Ingest(NamedTuple):
    """A checked request: the data source, the observations to store, and the number of records."""

    data_source: str
    observations: Observations
    records: int


class TooManyRecordsError(Exception):
    """Signal: the body has more records than ``MAX_RECORDS``.

    Args:
        records: How many it has.
    """

    def __init__(self, records: int) -> None:
        super().__init__(records)
        self.records = records


class InvalidBodyError(Exception):
    """Signal: the body is not a valid ingest.

    Args:
        fault: What is wrong and where, in FastAPI's form.
        data_source: The data source that the body names, if that can be read.
    """

    def __init__(self, fault: dict[str, object], data_source: str | None) -> None:
        super().__init__(fault)
        self.fault, self.data_source = fault, data_source


_RULE_OF_TYPE = "The Content-Type must be application/json"
_RULE_OF_BODY = "The body must be an object with data_source and records."
_BODY = msgspec.json.Decoder(Body)
_HEAD = msgspec.json.Decoder(Head)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def ingest_of(body: bytes, content_type: str = "") -> Ingest:
    """Decode and check a body.

    Args:
        body: The bytes of the body.
        content_type: The request's Content-Type; empty if it has none.

    Raises:
        InvalidBodyError: The body is not JSON or not an ingest, or one of its records is invalid.
        TooManyRecordsError: The body has more records than a request may have.
    """
    if not is_json(content_type):
        raise InvalidBodyError(
            _named("content_type", (), f"{_RULE_OF_TYPE}, got {content_type!r:.60}."), _data_source(body)
        )
    try:
        decoded = _BODY.decode(body)
    except _UNREADABLE as error:
        raise InvalidBodyError(_fault(error), _data_source(body)) from None
    if len(decoded.records) > MAX_RECORDS:
        raise TooManyRecordsError(len(decoded.records))
    return Ingest(decoded.data_source, _observations(decoded), len(decoded.records))


def is_json(content_type: str) -> bool:
    """Tell whether a Content-Type means JSON, by FastAPI's rule. choice: a request without one is taken for JSON.

    >>> is_json("application/json; charset=utf-8"), is_json(""), is_json("application/x-www-form-urlencoded")
    (True, True, False)
    """
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("", "application/json") or (kind.startswith("application/") and kind.endswith("+json"))


def _observations(body: Body) -> Observations:
    records = body.records
    texts = [record.name for record in records]
    names = tuple(dict.fromkeys(texts))
    _check_names(names, texts, body.data_source)
    codes = dict(zip(names, range(len(names)), strict=True))
    everything = Observations(
        timestamps=np.array([record.timestamp for record in records], dtype=np.int64),
        codes=np.array([codes[text] for text in texts], dtype=np.int32),
        names=names,
        values=np.array([record.value for record in records], dtype=np.float64),
        origin=Origin(pd.RangeIndex(len(records))),
    )
    repeated = key_order(everything.timestamps, everything.codes).repeats
    return everything if repeated is None else everything.take(repeated.last)


def _check_names(names: Sequence[str], texts: Sequence[str], data_source: str) -> None:
    """Check each distinct name once. The decoder has refused lone surrogates already, which JSON does not allow."""
    for name in names:
        if fault := series_name_fault(name):
            words = f"{fault[0].upper()}{fault[1:]}. {RULES['name']}"
            raise InvalidBodyError(_named("value_error", ("records", texts.index(name), "name"), words), data_source)


def _data_source(body: bytes) -> str | None:
    try:
        return _HEAD.decode(body).data_source
    except _UNREADABLE:
        return None


def _fault(error: Exception) -> dict[str, object]:
    if not isinstance(error, msgspec.ValidationError):
        return _unreadable(str(error))
    found = AT.fullmatch(str(error))
    words, path = (found["words"], _path(found["path"] or "")) if found else (str(error), ())
    if missing := MISSING.fullmatch(words):
        return _named("missing", (*path, missing[1]), "Field required")
    rule = RULES.get(str(path[-1]), RULES["records"]) if path else _RULE_OF_BODY
    return _named("value_error", path, f"{words}. {rule}")


def _path(text: str) -> tuple[str | int, ...]:
    """Split ``.records[3].name`` into its steps."""
    return tuple(key or int(index) for key, index in STEP.findall(text))


def _unreadable(words: str) -> dict[str, object]:
    """Describe a body that is not JSON, or whose JSON is nested too deeply or not UTF-8."""
    byte = BYTE.search(words)
    return _named("json_invalid", (int(byte[1]),) if byte else (), f"JSON decode error: {BYTE.sub('', words)}")


def _named(kind: str, path: tuple[str | int, ...], words: str) -> dict[str, Any]:
    return {"type": kind, "loc": ["body", *path], "msg": words}
