"""Records: the JSON of an ingest becomes observations, or a fault that names the record.

Comes in: the bytes of a body. Goes out: a data source's name and observations, the last of each (timestamp, name).
Never: looks anything up, or accepts a number that the store would change.

The rules of ``contract`` are built into the typed decoder, which stops at the first fault. choice: only that one is
named; unknown keys are ignored, as FastAPI does; a Content-Type that is not JSON's is refused; of a key that stands
twice in one JSON object, and of two records with one (timestamp, name), the last counts.
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
from temporis_dagster.data_source.observations.superseded import repeats
from temporis_dagster.data_source.store.write import CHUNK_ROWS

MAX_RECORDS = CHUNK_ROWS
"""Records a request: as many as the store writes in one transaction, so that it is stored whole or not at all."""

RULES = {
    "timestamp": "A timestamp is an integer of Unix seconds; milliseconds must be divided by 1000.",
    "name": "A name is a string that is not empty and has no NUL character.",
    "value": "A value is a finite number; an integer beyond 2**53 is sent as a float, if rounding it is meant.",
    "data_source": "The data source is named by a string.",
    "records": "The records are a list of objects with a timestamp, a name and a value.",
}
AT = re.compile(r"(?P<words>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
MISSING = re.compile(r"Object missing required field `(\w+)`")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
BYTE = re.compile(r" \(byte (\d+)\)$")


class Record(msgspec.Struct, gc=False):
    """One observation as the API takes it."""

    timestamp: Annotated[int, Meta(ge=FIRST_TIMESTAMP, lt=TIMESTAMP_LIMIT)]
    name: str
    value: Annotated[int, Meta(ge=-EXACT_INTEGER_LIMIT, le=EXACT_INTEGER_LIMIT)] | float


class Body(msgspec.Struct):
    """An ingest as the API takes it."""

    data_source: str
    records: list[Record]


class Head(msgspec.Struct):
    """Of an ingest whose records are at fault, what decides whether that matters."""

    data_source: str


class Ingest(NamedTuple):
    """A checked request: what it is for, what is to be stored, and how many records it had."""

    data_source: str
    observations: Observations
    records: int


class TooManyRecordsError(Exception):
    """Signal: more records than ``MAX_RECORDS``."""


class InvalidBodyError(Exception):
    """Signal: the body is no ingest.

    Args:
        fault: What is wrong where, as FastAPI says it.
        data_source: Which data source it is for, where that can be read.
    """

    def __init__(self, fault: dict[str, object], data_source: str | None) -> None:
        super().__init__(fault)
        self.fault, self.data_source = fault, data_source


_RULE_OF_TYPE = "The Content-Type must be application/json."
_BODY = msgspec.json.Decoder(Body)
_HEAD = msgspec.json.Decoder(Head)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def ingest_of(body: bytes, content_type: str = "") -> Ingest:
    """Decode and check a body.

    Args:
        body: The bytes.
        content_type: The request's Content-Type; empty where it has none.

    Raises:
        InvalidBodyError: It is no JSON, or no ingest, or a record is invalid.
        TooManyRecordsError: It has more records than a request may have.
    """
    if not is_json(content_type):
        raise InvalidBodyError(
            _named("content_type", (), f"{_RULE_OF_TYPE} It is {content_type!r:.60}."), _data_source(body)
        )
    try:
        decoded = _BODY.decode(body)
    except _UNREADABLE as error:
        raise InvalidBodyError(_fault(error), _data_source(body)) from None
    if len(decoded.records) > MAX_RECORDS:
        raise TooManyRecordsError
    return Ingest(decoded.data_source, _observations(decoded), len(decoded.records))


def is_json(content_type: str) -> bool:
    """Whether a Content-Type is that of JSON, as FastAPI tells it. choice: a request without one is taken for JSON.

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
    repeated = repeats(everything.timestamps, everything.codes, len(names))
    return everything if repeated is None else everything.take(repeated.last)


def _check_names(names: Sequence[str], texts: Sequence[str], data_source: str) -> None:
    """Check each different name once; a lone surrogate is no JSON, so the decoder has refused it."""
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
    rule = RULES.get(str(path[-1]), RULES["records"]) if path else "The body is an object: data_source and records."
    return _named("value_error", path, f"{words}. {rule}")


def _path(text: str) -> tuple[str | int, ...]:
    """``.records[3].name`` as its steps."""
    return tuple(key or int(index) for key, index in STEP.findall(text))


def _unreadable(words: str) -> dict[str, object]:
    """For what is no JSON at all, or none that anybody should send."""
    byte = BYTE.search(words)
    return _named("json_invalid", (int(byte[1]),) if byte else (), f"JSON decode error: {BYTE.sub('', words)}")


def _named(kind: str, path: tuple[str | int, ...], words: str) -> dict[str, Any]:
    return {"type": kind, "loc": ["body", *path], "msg": words}
