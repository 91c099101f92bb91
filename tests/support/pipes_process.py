"""An external process of Dagster Pipes, as a user writes it. Dagster cannot be imported in it.

Comes in: the name of one of the functions below, the path of a pickled frame, options of ``connect`` as JSON. Goes out:
an upsert, and what Dagster is told of it.
Never: is run inside of Dagster's process.
"""

import json
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.modules["dagster"] = None  # type: ignore[assignment]  # importing it raises an ImportError

import pandas as pd
from dagster_pipes import open_dagster_pipes

from temporis_dagster import connect
from temporis_dagster.data_source.store.sqlite.database import SqliteDatabase
from temporis_dagster.data_source.store.upsert import StoreUpsert
from temporis_dagster.errors import TemporisError
from temporis_dagster.pipes import report_upsert, upsert


def in_one_go(pipes, temporis, frame):
    """The usual way."""
    upsert(pipes, temporis, frame)


def by_its_report(pipes, temporis, frame):
    """An upsert of one's own, reported afterwards."""
    try:
        report = temporis.data_source(pipes.get_extra("source")).upsert(frame)
    except TemporisError as error:
        report_upsert(pipes, error)
        raise
    report_upsert(pipes, report)


def archived_halfway(pipes, temporis, frame):
    """Somebody archives the data source after five chunks of half a day."""
    after_chunks(5, lambda: temporis.data_source("store_metrics").archive())
    upsert(pipes, temporis, frame)


def killed_halfway(pipes, temporis, frame):
    """Killed by the system after five chunks of half a day."""
    after_chunks(5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    upsert(pipes, temporis, frame)


def after_chunks(chunks, act):
    SqliteDatabase.chunk_rows = 12
    store, done = StoreUpsert._store, []

    def store_and_act(self, rows):
        changed = store(self, rows)
        done.append(rows)
        if len(done) == chunks:
            act()
        return changed

    StoreUpsert._store = store_and_act


def broken(pipes, temporis, frame):
    """Fails by itself, before it has written anything."""
    raise ValueError("no such column")


if __name__ == "__main__":
    way, frame_file, options = sys.argv[1:]
    frame = pd.read_pickle(Path(frame_file))
    with open_dagster_pipes() as pipes, connect(**json.loads(options)) as temporis:
        globals()[way](pipes, temporis, frame)
