"""Ctrl-C at every point at which Python may notice it: no lock stays taken, no thread waits for one that never runs.

Random moments find such gaps once in thousands of interrupts. So the exception is raised from a trace function: before
each bytecode after which the interpreter looks whether a signal came.
"""

from __future__ import annotations

import dis
import logging
import sys
import threading
from contextlib import suppress
from functools import cache

import pytest

from temporis_dagster import connect
from temporis_dagster.data_source.http import client, delivery
from temporis_dagster.data_source.http.retry import RetryPolicy
from temporis_dagster.data_source.http.throttle import Throttle
from temporis_dagster.testing import FakeService, sample_frame

PATIENCE_S = 20.0


class Interrupted(BaseException):
    """The exception that is raised."""


@cache
def listening(code) -> frozenset[int]:
    """The points in this code after which Python checks for signals: a call, the start, the end of a loop's turn."""
    found, after = set(), False
    for instruction in dis.get_instructions(code):
        if instruction.opname != "CACHE":
            if after:
                found.add(instruction.offset)
            after = instruction.opname.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))
    return frozenset(found)


class Interruption:
    """Raise at one of those points, counted from 1, in the thread that enters it, within these files.

    Attributes:
        where: The point at which it was raised; None while it was not.
    """

    def __init__(self, at: int, *files: str) -> None:
        self._left, self._files, self.where = at, files, None

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.settrace(self._before)

    def _called(self, frame, _event, _argument):
        if not any(part in frame.f_code.co_filename for part in self._files):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame, event, _argument):
        if event == "opcode" and frame.f_lasti in listening(frame.f_code):
            self._left -= 1
            if self._left == 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
                raise Interrupted
        return self._step


def elsewhere(work) -> bool:
    """Do this in another thread, and return whether it was completed."""
    done = threading.Event()
    threading.Thread(target=lambda: (work(), done.set()), daemon=True).start()
    return done.wait(PATIENCE_S)


OURS = ("data_source/http/delivery.py", "data_source/http/throttle.py", "threading.py", "contextlib.py")


def test_an_interrupted_start_or_wait_leaves_no_thread_waiting():
    """Whatever was interrupted, a later wait is only for threads that run, and they end."""
    at, interruption = 0, None
    while interruption is None or interruption.where:
        at, workers, worked = at + 1, delivery.Workers(), []
        with Interruption(at, *OURS) as interruption:
            try:
                workers.start(lambda worked=worked: worked.append(1))
                workers.wait(PATIENCE_S)
                assert interruption.where is None, f"the interruption was swallowed: {interruption.where}"
            except Interrupted:
                pass
        assert elsewhere(workers.wait), interruption.where
        assert workers.wait(0), interruption.where
        assert len(worked) <= 1, interruption.where
    assert at > 30


def test_an_interrupted_start_of_an_upsert_leaves_the_throttle_free():
    """Other threads get their turns, and the upsert does not count as running."""
    at, interruption = 0, None
    while interruption is None or interruption.where:
        at, throttle = at + 1, Throttle(RetryPolicy(), max_in_flight=1)
        with Interruption(at, *OURS) as interruption:
            try:
                with throttle.engaged():
                    throttle.wake()
            except Interrupted:
                pass
        assert elsewhere(lambda throttle=throttle: throttle.alive(throttle.turn(lambda: False))), interruption.where
    assert at > 20


@pytest.mark.parametrize("kind", ["direct", "store", "mirror"])
def test_the_next_upsert_of_another_thread_goes_through(kind, tmp_path, request, soak, monkeypatch):
    """Wherever an upsert was interrupted; with ``--soak`` at every point, else at some."""
    monkeypatch.setattr(delivery, "INTERRUPT_GRACE_S", 0.02)
    logging.disable(logging.CRITICAL)  # the locks of log handlers are Python's
    request.addfinalizer(lambda: logging.disable(logging.NOTSET))
    step = {"direct": 60, "store": 300, "mirror": 1_500}[kind]
    step = max(1, step // 100) if soak else step
    options = {"mirror": {"mirror": f"sqlite:///{tmp_path}/m.db", "timeout_s": 2.0, "late_write_window_s": 1.0}}
    frame = sample_frame(hours=3)
    with FakeService(["metrics"]) as service:
        url = f"sqlite:///{tmp_path}/t.db" if kind == "store" else service.url
        token = None if kind == "store" else service.token
        with connect(url, token, batch_rows=2, max_in_flight=2, **options.get(kind, {})) as temporis:
            source = temporis.data_source("metrics")
            if kind == "store":
                temporis.create_data_source("metrics")
            source.upsert(frame)
            at, interruption = 1, None
            while interruption is None or interruption.where:
                with Interruption(at, "data_source/", "threading.py", "contextlib.py", "sqlalchemy/") as interruption:
                    try:
                        source.upsert(frame.assign(orders=float(at), revenue=float(at)))
                        assert interruption.where is None, f"swallowed: {interruption.where}"
                    except Interrupted:
                        pass
                later = frame.assign(orders=at + 0.5, revenue=at + 0.5)
                assert elsewhere(lambda later=later: source.upsert(later)), interruption.where
                at += step
    assert at > 3 * step


def test_an_interrupted_upsert_keeps_no_connection_open(monkeypatch):
    """Wherever it was interrupted on its way to a request: once closed, the connection has no socket left."""
    monkeypatch.setattr(delivery, "INTERRUPT_GRACE_S", 0.02)
    pools, make = [], client.Client._made
    monkeypatch.setattr(client.Client, "_made", lambda self: pools.append(make(self)) or pools[-1])
    with FakeService(["metrics"]) as service:
        at, interruption = 0, None
        while interruption is None or interruption.where:
            at += 1
            with connect(service.url, service.token, batch_rows=2, max_in_flight=2) as temporis:
                source = temporis.data_source("metrics")
                source.upsert(sample_frame(hours=3))
                with Interruption(at, "http/client.py") as interruption, suppress(Interrupted):
                    source.upsert(sample_frame(hours=3))
            assert all(pool.is_closed for pool in pools), interruption.where
    assert at > 2
