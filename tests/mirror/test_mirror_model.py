"""The mirror against a dict, under faults, kills, restarts and a second process, on a clock that is handed in."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from temporis_dagster import DeliveryError, MirrorError
from temporis_dagster.data_source.mirror import upsert
from temporis_dagster.data_source.options import MirrorOptions
from tests.support.delivery_tools import adds_up
from tests.support.mirror_databases import MirrorDatabase
from tests.support.mirror_tools import BAD, CANARY, SOURCE, Killed, Process, World, contents, interruptible, long_frame

__all__ = ["interruptible"]

WINDOW_S = 30.0
TIMEOUT_S = 45.0
"""Longer than the window: an attempt that was interrupted may outlive it."""
KEYS = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 5))
VALUES = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 2.0]), st.just(BAD))
ROWS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=10)
DELAYS = st.floats(0.0, WINDOW_S)
FAULT = st.one_of(
    st.none(),
    st.none(),
    st.sampled_from(["refused", "busy", "cut", "cut applied", "kill", "kill applied"]),
    st.tuples(st.sampled_from(["late", "late", "kill late"]), DELAYS),
    st.tuples(st.just("interrupt"), st.floats(0.0, TIMEOUT_S), st.sampled_from(["stored", "cut", "cut applied"])),
    st.tuples(st.just("meanwhile"), ROWS, st.sampled_from([0.0, 3.0, 100.0])),
    st.tuples(st.just("flush meanwhile"), st.sampled_from([0.0, 100.0])),
    st.sampled_from(["archive meanwhile", "discard meanwhile"]),
)
FAULTS = st.lists(FAULT, max_size=6)
NOBODY = st.sampled_from([0, 1])


class MirrorMachine(RuleBasedStateMachine):
    """Two processes share a mirror of one data source. ``model`` is what was written last, key by key."""

    database: MirrorDatabase

    def __init__(self) -> None:
        super().__init__()
        self.database.remake()
        self.world = World()
        self.model: dict[tuple[str, int], float] = {}

    @initialize(
        skip=st.tuples(st.booleans(), st.booleans()), modes=st.tuples(*[st.sampled_from(["raise", "queue"])] * 2)
    )
    def start(self, skip, modes) -> None:
        self.given = [
            MirrorOptions(skip_unchanged, mode, WINDOW_S) for skip_unchanged, mode in zip(skip, modes, strict=True)
        ]
        self.processes = [self.process(number) for number in (0, 1)]
        self.model = {}
        self.gone = set()

    def process(self, number: int) -> Process:
        return Process(
            self.world,
            self.database.url,
            mirror_options=self.given[number],
            beside=True,
            timeout_s=TIMEOUT_S,
            give_up_after_s=200.0,
        )

    @rule(who=NOBODY, rows=ROWS, faults=FAULTS)
    def upsert(self, who, rows, faults) -> None:
        """Rows whose upsert returned, or raised for what is not the mirror's fault, are in the mirror."""
        self.world.next = [self.armed(fault, who) for fault in faults]
        before, gone_before, self.gone = dict(self.model), self.gone, set()
        self.model |= rows
        try:
            report = self.processes[who].source.upsert(long_frame(rows))
            self.after(rows, report, before)
        except (DeliveryError, KeyboardInterrupt) as error:
            self.after(rows, error.report, before)
        except Killed:
            self.restart(who)
            self.killed(rows, before)
        finally:
            self.world.next = []
            self.gone |= gone_before

    def after(self, rows, report, before) -> None:
        assert adds_up(report)
        assert report.unknown <= len(rows.keys() & self.gone), "only what was discarded meanwhile may be unknown"
        if report.unsent:
            assert report.unsent == report.observations_in
            for key in rows:
                if self.model[key] == rows[key]:
                    self.model.pop(key)
                    self.model |= {key: before[key]} if key in before else {}

    @rule(who=NOBODY, faults=FAULTS, wait=st.booleans())
    def flush(self, who, faults, wait) -> None:
        self.world.next = [self.armed(fault, who) for fault in faults]
        try:
            report = self.processes[who].source.flush(wait=wait)
            assert not (wait and report.pending)
        except DeliveryError as error:
            report = error.report
        except KeyboardInterrupt:
            pass
        except Killed:
            self.restart(who)
        finally:
            self.world.next = []

    def armed(self, fault, who):
        """Faults in which something happens meanwhile, as functions; it has no faults of its own."""
        if fault == "archive meanwhile":
            return self.archive
        if fault == "discard meanwhile":
            return lambda: self.discard_pending(1 - who)
        if isinstance(fault, tuple) and fault[0] == "meanwhile":
            return lambda: self.meanwhile(1 - who, fault[1], fault[2])
        if isinstance(fault, tuple) and fault[0] == "flush meanwhile":
            return lambda: self.flush_meanwhile(1 - who, fault[1])
        return fault

    def meanwhile(self, who, rows, pause_s) -> None:
        waiting, self.world.next = self.world.next, []
        self.world.advance(pause_s)
        if self.given[who].on_unavailable == "queue" or pause_s > 50:
            self.upsert(who, rows, [])
        self.world.next = waiting

    def flush_meanwhile(self, who, pause_s) -> None:
        waiting, self.world.next = self.world.next, []
        self.world.advance(pause_s)
        self.flush(who, [], wait=False)
        self.world.next = waiting

    def restart(self, who) -> None:
        self.processes[who].close()
        self.processes[who] = self.process(who)

    def killed(self, rows, before) -> None:
        """What a killed upsert wrote is in the mirror, or it is not: row by row."""
        source = self.processes[0].source
        found = contents(source.read()) | contents(source.rejected_rows())
        for key in rows:
            assert repr(found.get(key)) in {repr(before.get(key)), repr(rows[key]), repr(self.model.get(key))}
            self.model.pop(key, None)
            self.model |= {key: found[key]} if key in found else {}

    @rule(seconds=st.sampled_from([0.1, 5.0, 20.0, 40.0, 200.0]))
    def pass_time(self, seconds) -> None:
        self.world.advance(seconds)

    @rule()
    def archive(self) -> None:
        self.world.state.archived[SOURCE] = True

    @rule()
    def unarchive(self) -> None:
        self.world.state.archived[SOURCE] = False

    @rule(token=st.sampled_from(["ts_other", CANARY]), rows=ROWS)
    def wrong_target(self, token, rows) -> None:
        """Another token, or another URL, is refused, and nothing is written."""
        url = "http://127.0.0.1:1" if token != CANARY else "http://127.0.0.1:2"
        if not contents(self.processes[0].source.read()):
            return
        other = Process(self.world, self.database.url, token=token, url=url)
        with pytest.raises(MirrorError):
            other.source.upsert(long_frame(rows))
        other.close()

    @rule(retry=st.booleans())
    def decide_on_rejected(self, retry) -> None:
        source = self.processes[0].source
        kept = contents(source.rejected_rows())
        if retry:
            assert source.retry_rejected() == len(kept)
        else:
            assert source.discard_rejected() == len(kept)
            for key in kept:
                self.model.pop(key)

    @rule(who=NOBODY)
    def discard_pending(self, who) -> None:
        """What waits is gone and not read any more; what is in flight, and what is delivered, stays."""
        source, waiting = self.processes[who].source, self.pending_by_hand()
        before, in_flight = contents(source.read()), self.pending_by_hand("AND b.lease_until > :now")
        assert source.discard_pending() == waiting - in_flight
        gone = before.keys() - contents(source.read()).keys()
        assert len(gone) == waiting - in_flight
        self.gone |= gone
        for key in gone:
            self.model.pop(key)

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        if not hasattr(self, "processes"):
            return
        source = self.processes[1].source
        rejected = contents(source.rejected_rows())
        found = contents(source.read())
        assert not found.keys() & rejected.keys()
        merged = found | rejected
        assert {key: repr(value) for key, value in merged.items()} == {
            key: repr(value) for key, value in self.model.items()
        }
        assert set(rejected.values()) <= {BAD}
        assert source.pending().rejected == len(rejected)
        assert source.pending().rows == self.pending_by_hand()

    def pending_by_hand(self, among: str = "") -> int:
        if not self.processes[1].mirror.exists:
            return 0
        ((count,),) = self.database.rows(
            "SELECT count(*) FROM temporis_observation o JOIN temporis_mirror_batch b ON b.id = o.batch"
            f" WHERE b.live > 0 {among}".replace(":now", repr(self.world.now))
        )
        return count

    def teardown(self) -> None:
        if not hasattr(self, "processes"):
            return
        self.unarchive()
        self.world.next = []
        self.processes[0].source.flush()
        source = self.processes[0].source
        assert source.pending().rows == 0
        rejected = source.rejected_rows()
        self.world.advance(10 * WINDOW_S)
        wanted = {key: repr(value) for key, value in self.model.items() if key not in contents(rejected)}
        there = {key: repr(value) for key, value in self.world.content().items() if key in wanted}
        assert there == wanted
        assert self.world.state.overlapping_keys == self.world.overlaps == set()
        for process in self.processes:
            process.close()


@pytest.mark.usefixtures("interruptible")
def test_the_mirror_is_a_dict_that_reaches_the_service(mirror_db, soak, monkeypatch):
    """Whatever fails, dies, comes late or happens at once: it reads as written, and a flush brings every last value."""
    monkeypatch.setattr(upsert, "CHUNK_ROWS", 3)
    run_state_machine_as_test(
        type("Machine", (MirrorMachine,), {"database": mirror_db}),
        settings=settings(
            max_examples=1_000 if soak else round(20 * mirror_db.share),
            print_blob=False,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
