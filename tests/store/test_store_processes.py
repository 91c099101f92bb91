"""The SQL data source, used by several processes at once. Nothing here sleeps: processes are heard on their pipes."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from temporis_dagster.data_source.observations.model import Observations, Origin
from temporis_dagster.data_source.reading.forms import pandas_frame
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.target import ArchiveState

WORKER = Path(__file__).parents[1] / "support" / "store_worker.py"
ROOT = Path(__file__).parents[2]
WRITERS = 2
PATIENCE_S = 120
"""Far beyond what anything here takes: only a test that hangs meets it."""


class Worker:
    """A process running store_worker.py; what it tells is put on a queue, with the process's number."""

    def __init__(self, number: int, told: queue.Queue, *arguments: object) -> None:
        self.number, self.told = number, told
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.complaints: list[str] = []
        self.threads = [threading.Thread(target=self.listen), threading.Thread(target=self.hear_complaints)]
        for thread in self.threads:
            thread.start()

    def listen(self) -> None:
        for line in self.process.stdout:
            self.told.put((self.number, json.loads(line)))
        self.told.put((self.number, {"gone": True}))

    def hear_complaints(self) -> None:
        self.complaints.extend(self.process.stderr)

    def hear(self) -> dict:
        return self.told.get(timeout=PATIENCE_S)[1]

    def go(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Wait for the process to end by itself; it must have had nothing to complain about."""
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            for thread in self.threads:
                thread.join()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                pipe.close()
        if self.process.returncode == -signal.SIGKILL:
            return
        assert (self.process.returncode, "".join(self.complaints)) == (0, "")


@contextmanager
def openers(count: int, *urls: str) -> Iterator[list[Worker]]:
    with ended([Worker(number, queue.Queue(), "open", *urls) for number in range(count)]) as started:
        yield started


@contextmanager
def writers(count: int, url: str, stop: Path) -> Iterator[queue.Queue]:
    told: queue.Queue = queue.Queue()
    with ended([Worker(number, told, "write", url, number, stop) for number in range(count)], stop):
        yield told


@contextmanager
def ended(started: list[Worker], stop: Path | None = None) -> Iterator[list[Worker]]:
    """Processes that are all gone in the end, whatever happens in between."""
    try:
        yield started
    except BaseException:
        for worker in started:
            worker.process.kill()
        raise
    finally:
        if stop:
            stop.touch()
        for worker in started:
            worker.end()


def test_four_processes_open_a_store_first(tmp_path):
    """The first process makes the store, once; the others find it, and none fails because the database is locked."""
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(8)]
    with openers(4, *urls) as processes:
        for url in urls:
            for process in processes:
                assert process.hear() == {"ready": True}
            for process in processes:
                process.go()
            for process in processes:
                answer = {"url": url, "sources": ["metrics"], "acknowledged": 80}
                assert process.hear() == answer
    for url in urls:
        store = SqlStore(url)
        assert len(pandas_frame(store.rows("metrics", None, None, None))) == 80
        store.close()


class Chronicle:
    """What the writers told so far."""

    def __init__(self, told: queue.Queue) -> None:
        self.told = told
        self.ended: list[dict] = []

    def hear(self) -> tuple[int, dict]:
        number, record = self.told.get(timeout=PATIENCE_S)
        if "gone" not in record:
            self.ended.append(record)
        return number, record

    def until_each(self, *, archived: bool, times: int) -> None:
        """Listen until every writer found the data source archived, or not, this many times."""
        missing = dict.fromkeys(range(WRITERS), times)
        while any(left > 0 for left in missing.values()):
            number, record = self.hear()
            assert "gone" not in record
            missing[number] -= record["archived"] is archived


def test_no_observation_lands_after_archiving(tmp_path, soak):
    """Two processes upsert overlapping keys while this one archives and unarchives.

    None is ever told that the database is locked; once archiving returned the content stays as it is, although every
    writer tries anew; and every report is exact: what it acknowledged is in the store, and nothing else is.
    """
    url = f"sqlite:///{tmp_path}/temporis.db"
    store = SqlStore(url)
    store.create_data_source("metrics")
    rounds, deadline = 0, time.monotonic() + (20 if soak else 4)
    with writers(WRITERS, url, tmp_path / "stop") as told:
        chronicle = Chronicle(told)
        while rounds < 3 or time.monotonic() < deadline:
            chronicle.until_each(archived=False, times=1)
            store.set_archived("metrics", archived=True)
            content = store.content_digest("metrics", None, None, None)
            # The first to be refused may have begun before; the next one began after archiving returned.
            chronicle.until_each(archived=True, times=2)
            assert store.content_digest("metrics", None, None, None) == content
            assert store.archive_state("metrics") is ArchiveState.ARCHIVED
            store.set_archived("metrics", archived=False)
            rounds += 1
    while not chronicle.told.empty():
        chronicle.hear()
    check_reports(store, chronicle)
    store.close()


def check_reports(store: SqlStore, chronicle: Chronicle) -> None:
    acknowledged: dict[tuple[int, str], set[float]] = defaultdict(set)
    for record in chronicle.ended:
        counts = [record[name] for name in ("stored", "unchanged", "unsent", "unknown")]
        assert sum(counts) == record["observations_in"] == 80
        assert len(record["rows"]) == record["stored"] + record["unchanged"]
        assert record["unknown"] == 0
        assert bool(record["unsent"]) == record["archived"]
        for timestamp, name, value in record["rows"]:
            acknowledged[timestamp, name].add(value)
    frame = pandas_frame(store.rows("metrics", None, None, None))
    keys = zip(frame["timestamp"].astype("int64"), frame["name"], strict=True)
    stored = dict(zip(keys, frame["value"], strict=True))
    assert stored.keys() == acknowledged.keys()
    assert all(value in acknowledged[key] for key, value in stored.items())
    assert {f"own {number}" for number in range(WRITERS)} | {"shared"} == set(frame["name"])


def rows(count: int, name: str) -> Tally:
    observations = Observations(
        timestamps=np.arange(count, dtype=np.int64),
        codes=np.zeros(count, dtype=np.int32),
        names=(name,),
        values=np.ones(count),
        origin=Origin(pd.RangeIndex(count)),
    )
    return Tally("metrics", observations)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_uses_the_store(tmp_path):
    """After a fork, parent and child both go on, and what one commits outlives the other's closing."""
    store = SqlStore(f"sqlite:///{tmp_path}/temporis.db", create_missing=True)
    store.upsert(rows(10, "before"))
    (from_child, to_parent), (from_parent, to_child) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        in_child(store, from_parent, to_parent)
    store.upsert(rows(10, "parent"))
    assert os.read(from_child, 1) == b"1"
    store.close()
    os.write(to_child, b"1")
    assert os.waitpid(child, 0)[1] == 0
    assert set(pandas_frame(store.rows("metrics", None, None, None))["name"]) == {
        "before",
        "parent",
        "child",
        "child, alone",
    }
    store.close()
    for end in (from_child, to_parent, from_parent, to_child):
        os.close(end)


def in_child(store: SqlStore, from_parent: int, to_parent: int) -> None:
    """Open while the parent does, then go on after the parent closed. Never returns: the tests are the parent's."""
    status = 1
    try:
        store.upsert(rows(10, "child"))
        os.write(to_parent, b"1")
        os.read(from_parent, 1)
        store.upsert(rows(10, "child, alone"))
        store.close()
        status = 0
    finally:
        os._exit(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_leaves_no_open_file_to_the_child(tmp_path):
    """The child inherits no connection: closing an inherited one, or only holding it, breaks SQLite's locks."""
    store = SqlStore(f"sqlite:///{tmp_path}/temporis.db", create_missing=True)
    store.upsert(rows(10, "before"))
    child = os.fork()
    if not child:
        held = [os.path.realpath(f"/dev/fd/{number}") for number in range(3, 64)]
        os._exit(any("temporis.db" in path for path in held))
    assert os.waitpid(child, 0)[1] == 0
    store.close()
