"""The mirror and death at every statement: a scenario of its whole life, killed at each Nth SQL statement of it."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress

import pytest

from temporis_dagster import TemporisError
from temporis_dagster.data_source.mirror import upsert
from temporis_dagster.data_source.options import MirrorOptions
from tests.support.mirror_databases import MirrorDatabase
from tests.support.mirror_tools import BAD, SOURCE, Process, World, contents, long_frame

WINDOW_S = 30.0
QUEUE = MirrorOptions(on_unavailable="queue", late_write_window_s=WINDOW_S)
DELTAS = MirrorOptions(skip_unchanged=True, late_write_window_s=WINDOW_S)


def rows(first: int, last: int, value: float) -> dict[tuple[str, int], float]:
    return {("ab"[number % 2], number): value for number in range(first, last)}


def scenario(world: World, mirror: str, model: dict, returned: dict) -> None:
    """Chunks, doubts, late writes, rejections, unchanged rows, an archived source, a discard, a rebuild.

    ``model`` learns what is being written before it is, ``returned`` once its upsert returned or raised.
    """
    a, b = Process(world, mirror, mirror_options=QUEUE), Process(world, mirror, mirror_options=DELTAS)

    def write(one: Process, written: dict, *faults) -> None:
        world.next = list(faults)
        model.update({key: [*model.get(key, []), value] for key, value in written.items()})
        with suppress(TemporisError):
            one.source.upsert(long_frame(written))
        returned.update({key: len(model[key]) for key in written})
        world.next = []

    write(a, rows(0, 10, 1.0))
    write(a, rows(4, 14, 2.0), ("late", 20.0), "cut applied", *["refused"] * 40)
    write(b, rows(0, 10, 1.0) | {("c", 1): BAD, ("c", 2): 3.0})
    write(a, rows(2, 8, 4.0), ("late", 9.0), "busy")
    world.advance(12.0)
    a.source.flush(wait=False)
    world.state.archived[SOURCE] = True
    write(b, rows(20, 23, 5.0))
    world.state.archived[SOURCE] = False
    a.source.retry_rejected()
    write(a, rows(6, 12, 6.0), *["cut"] * 3)
    b.source.flush()
    world.advance(100.0)
    a.mirror.rebuild()
    a.source.flush()
    a.close()
    b.close()


class Countdown:
    """Kills the process at a statement."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0

    def __call__(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os._exit(9)


def lived(database: MirrorDatabase, pipe: int, at: int) -> None:
    """In a child: live the scenario, and tell at the end, or from the grave, what the world is like."""
    world, model, returned = World(), {}, {}
    countdown = Countdown(at)

    def tell() -> None:
        told = pickle.dumps((world.now, world.late, world.state.content, model, returned, countdown.seen))
        with os.fdopen(os.dup(pipe), "wb") as out:
            out.write(told)

    database.before_each_statement(countdown)
    usual_exit = os._exit

    def die(status: int) -> None:
        tell()
        usual_exit(status)

    os._exit = die
    upsert.CHUNK_ROWS = 4
    status = 1
    try:
        scenario(world, database.url, model, returned)
        status = 0
    except BaseException as error:  # noqa: BLE001
        sys.__stderr__.write(f"{error!r}\n")
    finally:
        die(status)


def life(database: MirrorDatabase, at: int):
    """Fork a child that lives until its statement number ``at``; its status, and what it told."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        lived(database, writes, at)
    os.close(writes)
    with os.fdopen(reads, "rb") as told:
        content = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pickle.loads(content)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_death_at_any_statement_loses_nothing(mirror_db, soak, capsys):
    """What was written and returned is in the mirror; after a flush it is in the service, and no late write wins."""
    status, (*_, statements) = life(mirror_db, 0)
    assert status == 0
    step = max(1, statements // (450 if soak else round(24 * mirror_db.share)))
    kills = 0
    for at in range(1, statements, step):
        mirror_db.remake()
        status, (now, late, content, model, returned, _) = life(mirror_db, at)
        assert status == 9
        kills += 1
        after_death(mirror_db.url, now, late, content, model, returned)
    with capsys.disabled():
        sys.stdout.write(f"\n{kills} kills over {statements} statements\n")


def after_death(mirror: str, now, late, content, model, returned) -> None:
    world = World()
    world.now, world.late = now, late
    world.state.content.update(content)
    survivor = Process(world, mirror, mirror_options=QUEUE)
    kept, rejected = contents(survivor.source.read()), contents(survivor.source.rejected_rows())
    for key, values in model.items():
        if key in returned:
            # One of the values written since the last upsert of the key that returned.
            assert repr((kept | rejected)[key]) in {repr(value) for value in values[returned[key] - 1 :]}, key
    survivor.source.flush()
    world.advance(10 * WINDOW_S)
    there = world.content()
    wanted = contents(survivor.source.read())
    assert {key: there.get(key) for key in wanted} == wanted
    assert survivor.source.pending().rows == 0
    survivor.close()
