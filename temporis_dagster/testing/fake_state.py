"""Fake state: the fake service without its socket: its data sources, what they store, and what it answers.

Comes in: headers and a body, from any thread. Goes out: an answer, or how the connection ends without one; and a record
of everything.
Never: touches a socket, or records a token.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson

from temporis_dagster.contract import ARCHIVED, INVALID_TOKEN, MISSING_TOKEN, NOT_FOUND
from temporis_dagster.testing.faults import Applies, Ends, Fault, Script, answer
from temporis_dagster.testing.requests import Key, Record, Request, request_from

Write: TypeAlias = tuple[str, int, str, float]


@dataclass(frozen=True)
class Rules:
    """What the service accepts; see ``FakeService`` for the attributes."""

    token: str
    max_body_bytes: int | None = None
    max_records: int | None = None
    refuses_empty: bool = False
    fault_of: Callable[[Record], str | None] = field(default=lambda _record: None)


@dataclass(frozen=True)
class Response:
    """The answer to a request, if there is one."""

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ends: Ends = "answer"


class FakeState:
    """Everything that a fake service knows; see ``FakeService`` for the attributes."""

    def __init__(self, archived: dict[str, bool], rules: Rules, script: Script, clock: Callable[[], float]) -> None:
        self.archived, self.rules, self.script, self.clock = archived, rules, script, clock
        self.content: dict[tuple[str, int, str], float] = {}
        self.writes: list[Write] = []
        self.requests: list[Request] = []
        self.overlapping_keys: set[tuple[str, int, str]] = set()
        self.most_in_flight = 0
        self._late: list[Request] = []
        self._under_way: Counter[tuple[str, int, str]] = Counter()
        self._in_flight = 0
        self._lock = threading.RLock()  # reentrant, so that a script may release, archive or read

    def respond(self, headers: Mapping[str, str], body: bytes) -> Response:
        """Record a request, treat it as the script asks, and return the answer."""
        with self._lock:
            request = request_from(len(self.requests), self.clock(), headers, body)
            self._arrive(request)
            fault = self._scripted(request)
        if fault.until is not None:
            fault.until.wait()
        with self._lock:
            return self._finish(request, fault, headers.get("Authorization"))

    def _scripted(self, request: Request) -> Fault:
        try:
            return self.script(request) or Fault(applies="all")
        except Exception as bug:  # noqa: BLE001  # a final answer, so that the test shows it
            return answer(501, f"The script of the fake service raised {bug!r}.")

    def release_late(self) -> int:
        """Store the records that were kept for later, oldest first, and return their number."""
        with self._lock:
            late, self._late = self._late, []
            for request in late:
                self._store(request, request.records)
            return sum(len(request.records) for request in late)

    def _arrive(self, request: Request) -> None:
        self.requests.append(request)
        keys = _full_keys(request)
        self.overlapping_keys |= {key for key in keys if self._under_way[key]}
        self._under_way.update(keys)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)

    def _finish(self, request: Request, fault: Fault, authorization: str | None) -> Response:
        """Settle a request before it is answered, because the client may then send the same keys again at once."""
        own = self._judge(request, authorization)
        if own.status == 204:  # noqa: PLR2004  # stored
            self._apply(request, "all" if fault.status is None and fault.ends == "answer" else fault.applies)
        given = own if fault.status is None else Response(fault.status, fault.body.encode(), fault.headers)
        self._under_way.subtract(_full_keys(request))
        self._in_flight -= 1
        request.status = given.status if fault.ends == "answer" else None
        return Response(request.status, given.body, given.headers, fault.ends)

    def _judge(self, request: Request, authorization: str | None) -> Response:
        """Check a request, in the order of the real service."""
        if authorization != f"Bearer {self.rules.token}":
            known_form = (authorization or "").startswith("Bearer ")
            return _detail(401, INVALID_TOKEN if known_form else MISSING_TOKEN)
        if self._is_too_large(request):
            return _detail(413, "The request body is too large.")
        if request.complaints and not request.data_source:
            return _complaints(request)
        if self.archived.get(request.data_source, True):
            known = request.data_source in self.archived
            return _detail(409, ARCHIVED) if known else _detail(404, NOT_FOUND)
        return self._judge_records(request)

    def _is_too_large(self, request: Request) -> bool:
        rules = self.rules
        by_bytes = rules.max_body_bytes is not None and request.size > rules.max_body_bytes
        return by_bytes or (rules.max_records is not None and len(request.records) > rules.max_records)

    def _judge_records(self, request: Request) -> Response:
        if request.complaints:
            return _complaints(request)
        if not request.records and self.rules.refuses_empty:
            return _invalid({"loc": ["body", "records"], "msg": "List should have at least 1 item"})
        for position, record in enumerate(request.records):
            if words := self.rules.fault_of(record):
                return _invalid({"loc": ["body", "records", position], "msg": words})
        return Response(204)

    def _apply(self, request: Request, applies: Applies) -> None:
        if applies == "later":
            self._late.append(request)
        elif applies != "nothing":
            self._store(request, request.records[: len(request.records) // 2] if applies == "half" else request.records)

    def _store(self, request: Request, records: Iterable[Record]) -> None:
        for record in records:
            timestamp, name, value = record["timestamp"], record["name"], float(record["value"])
            self.content[request.data_source, timestamp, name] = value
            self.writes.append((request.data_source, timestamp, name, value))


def _full_keys(request: Request) -> list[tuple[str, int, str]]:
    keys: list[Key] = request.keys
    return [(request.data_source, timestamp, name) for timestamp, name in keys]


def _complaints(request: Request) -> Response:
    return _invalid(*({"msg": complaint} for complaint in request.complaints))


def _invalid(*faults: Mapping[str, object]) -> Response:
    """Answer 422 as the local service does: the first fault as a text, and all of them in FastAPI's form."""
    return _json(422, {"detail": faults[0]["msg"], "errors": faults})


def _detail(status: int, detail: str) -> Response:
    return _json(status, {"detail": detail})


def _json(status: int, content: Mapping[str, object]) -> Response:
    return Response(status, orjson.dumps(content), {"Content-Type": "application/json"})


system_clock = time.monotonic
