"""Many processes that write the same keys into PostgreSQL at once, while another archives the data source."""

from __future__ import annotations

import sys
import time

import psycopg
from sqlalchemy import make_url

from temporis_dagster import connect
from tests.support.postgres_crew import Crew, State, crew_of, stored_in, until_settled
from tests.support.postgres_server import PrivatePostgres
from tests.support.postgres_worker import SOURCE, Plan, rows_of, upsert_of

ORDER = """
    SELECT s.name, o.timestamp FROM temporis_observation o JOIN temporis_series s ON s.id = o.series
    WHERE s.name LIKE 'mark %' ORDER BY pg_xact_commit_timestamp(o.xmin)
"""
"""The upserts in the order of their commits: the first row of each has a key that no other upsert writes."""


def test_writers_of_overlapping_keys_leave_what_a_serial_order_would(tmp_path, soak, capsys):
    """No deadlock surfaces, nothing is stored after ``archive`` returned, and ``archive`` does not starve.

    Done one after the other in the order of their commits, the upserts give the same content, bit for bit, and the same
    reports.
    """
    writers, seconds = (16, 60) if soak else (6, 4)
    plan = Plan(rows=5_000, own=0, shared=20_000, chunk_rows=5_000) if soak else Plan(400, 0, 1_000, 400)
    with PrivatePostgres({"track_commit_timestamp": "on"}) as server, server.database() as url, crew_of(plan) as crew:
        with connect(url) as temporis:
            temporis.create_data_source(SOURCE)
        for number in range(writers):
            crew.start(number, url, stop=tmp_path / "stop")
        latencies = archive_again_and_again(crew, url, time.monotonic() + seconds)
        (tmp_path / "stop").touch()
        crew.until_gone()
        until_settled(server, url)
        rows = sum(writer.rows for writer in crew.writers.values())
        replay(crew, server, url)
        deadlocks = server.execute(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{make_url(url).database}'")
        assert deadlocks == [(0,)]
    with capsys.disabled():
        figures = ", ".join(f"{latency:.2f}" for latency in sorted(latencies))
        sys.stdout.write(f"\n{writers} writers: {rows / seconds:,.0f} rows/s; archive() took {figures} s\n")


def archive_again_and_again(crew: Crew, url: str, until: float) -> list[float]:
    """Archive and unarchive while the writers write. Returns how long each ``archive`` took, in seconds."""
    latencies: list[float] = []
    with connect(url) as temporis:
        source = temporis.data_source(SOURCE)
        while time.monotonic() < until or len(latencies) < 3:
            until_each(crew, 2, archived=False)
            began = time.monotonic()
            source.archive()
            latencies.append(time.monotonic() - began)
            content = source.content_digest()
            # The first to be refused may have begun before; the next one began after archiving returned.
            until_each(crew, 2, archived=True)
            assert source.content_digest() == content
            source.unarchive()
    return latencies


def until_each(crew: Crew, times: int, *, archived: bool) -> None:
    """Listen until every writer found the data source archived, or not, this many times."""
    missing = dict.fromkeys(crew.writers, times)
    while any(left > 0 for left in missing.values()):
        writer, record = crew.hear()
        if "ended" in record:
            missing[writer.number] -= record["archived"] is archived


def replay(crew: Crew, server: PrivatePostgres, url: str) -> None:
    """Do all upserts again in the order of their commits, in a dict, and compare."""
    reports = {(writer.number, record["ended"]): record for writer in crew.writers.values() for record in writer.ended}
    state: State = {}
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)) as by_hand:
        order = by_hand.execute(ORDER).fetchall()
    for mark, counter in order:
        number = int(mark.removeprefix("mark "))
        report = reports.pop((number, counter))
        rows = {key: value.hex() for key, value in rows_of(upsert_of(number, counter, crew.plan))}
        differing = sum(state.get(key) != value for key, value in rows.items())
        counts = (report["error"], report["stored"], report["unchanged"])
        assert counts == (None, differing, len(rows) - differing), (mark, counter)
        state |= rows
    assert {report["error"] for report in reports.values()} <= {"DataSourceArchivedError"}
    assert all(report["unsent"] == crew.plan.rows for report in reports.values())
    assert stored_in(url) == state
