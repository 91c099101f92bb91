"""Requests: what a fake service received, as far as it can be read.

Comes in: headers and a body. Goes out: a request to record, with everything about it that the API does not allow.
Never: decides what the service answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

Record: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[int, str]

FIELDS = {"timestamp", "name", "value"}


@dataclass
class Request:
    """One request to a fake service.

    Attributes:
        number: The number of the request, from 0.
        arrived_at: The time of arrival in seconds, by the clock of the service.
        headers: The headers, names in lower case, without the token.
        size: The size of the body in bytes.
        data_source: The data source that the request names; empty if it cannot be read.
        records: The records; empty if they cannot be read.
        complaints: Everything about the request that the API does not allow.
        status: The HTTP status of the answer; None while the request is under way, and if there was no answer.
    """

    number: int
    arrived_at: float
    headers: dict[str, str]
    size: int
    data_source: str = ""
    records: list[Record] = field(default_factory=list, repr=False)
    complaints: list[str] = field(default_factory=list)
    status: int | None = None

    @property
    def keys(self) -> list[Key]:
        """The (timestamp, series name) of each record."""
        return [(record["timestamp"], record["name"]) for record in self.records]


def request_from(number: int, arrived_at: float, headers: Mapping[str, str], body: bytes) -> Request:
    """Read a request as far as possible."""
    shown = {name.lower(): value for name, value in headers.items()}
    shown.pop("authorization", None)
    request = Request(number, arrived_at, shown, len(body))
    request.complaints += _about_headers(shown)
    try:
        _fill(request, orjson.loads(body))
    except orjson.JSONDecodeError as error:
        request.complaints.append(f"The body is not JSON: {error}.")
    return request


def _about_headers(headers: Mapping[str, str]) -> list[str]:
    complaints = [] if "user-agent" in headers else ["There is no User-Agent."]
    if headers.get("content-type", "").split(";")[0] != "application/json":
        complaints.append("The Content-Type is not application/json.")
    return complaints


def _fill(request: Request, content: object) -> None:
    if not isinstance(content, dict) or set(content) != {"data_source", "records"}:
        request.complaints.append("The body is not an object of data_source and records.")
        return
    if not isinstance(content["data_source"], str) or not isinstance(content["records"], list):
        request.complaints.append("data_source is not a string, or records is not a list.")
        return
    request.data_source = content["data_source"]
    complaints = [f"Record {i} {fault}." for i, item in enumerate(content["records"]) if (fault := _fault(item))]
    request.complaints += complaints
    if not complaints:
        request.records = content["records"]


def _fault(record: object) -> str:
    if not isinstance(record, dict) or set(record) != FIELDS:
        return "is not an object of timestamp, name and value"
    if type(record["timestamp"]) is not int:
        return "has a timestamp that is not an integer"
    if not isinstance(record["name"], str):
        return "has a name that is not a string"
    value = record["value"]
    return "" if type(value) in (int, float) and math.isfinite(value) else "has a value that is not a finite number"
