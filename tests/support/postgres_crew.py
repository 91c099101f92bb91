"""A crew of writer processes, and a model of what may be stored: for the tests of a PostgreSQL that breaks.

Comes in: what the writers tell. Goes out: the states that the database may be in, given everything that was told.
Never: believes a report without checking it, or looks into the database while a transaction is open there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from temporis_dagster import connect
from tests.support.forked_crew import ForkedCrew
from tests.support.postgres_server import Postgres
from tests.support.postgres_worker import SOURCE, Plan, outcome, rows_of, upsert_of

State = dict[tuple[int, str], str]
"""What is stored: a value, as hexadecimal text that tells -0.0 from 0.0, by its key."""


class Crew(ForkedCrew):
    """The writers, and a model per writer of what may be stored of its own keys."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.writers: dict[int, Writer] = {}
        self.kills = 0
        super().__init__(Path(__file__).with_name("postgres_worker.py"))

    def start(self, number: int, url: str, *, stop: Path | None = None, **options: object) -> Writer:
        """Start a writer, or start it again after its death: it goes on with upserts that it has not made."""
        writer = self.writers.setdefault(number, Writer(number, self.plan))
        asked = {"number": number, "url": url, "first": writer.next, "plan": self.plan._asdict(), "options": options}
        self.ask(**asked, stop=str(stop) if stop else None)
        writer.gone, writer.pid = False, None
        while writer.pid is None:
            self.hear()
        return writer

    def hear(self) -> tuple[Writer, dict]:
        """Wait for the next thing that a writer tells, and believe it."""
        record = self.next_told()
        writer = self.writers[record["number"]]
        writer.hear(record)
        return writer, record

    def until_gone(self, *writers: Writer) -> None:
        """Listen until these writers have ended: then everything that they told was heard. Without any: all of them."""
        while not all(writer.gone for writer in writers or self.writers.values()):
            self.hear()

    def kill(self, *writers: Writer) -> None:
        """Kill these writers, and wait for their end."""
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            self.kills += 1
        self.until_gone(*writers)

    def close(self) -> None:
        """End the parent, and with it all that is left: its children see their pipes close."""
        for writer in self.writers.values():
            if not writer.gone and writer.pid is not None:
                os.kill(writer.pid, signal.SIGKILL)
        super().close()
        # Without a handler, Python prints warnings: that a server is away is one of them.
        assert [line for line in self.complaints if "is tried again for up to" not in line] == []


@contextmanager
def crew_of(plan: Plan) -> Iterator[Crew]:
    """A crew that is gone when the block ends."""
    crew = Crew(plan)
    try:
        yield crew
    finally:
        crew.close()


class Writer:
    """What is known of one writer.

    Attributes:
        states: What may be stored of its own keys: several states where nobody can know. Only kept if it shares none.
        next: The number of its next upsert.
        acknowledged: How many upserts returned without an error.
        unknown: How many rows were reported as unknown.
        errors: The errors that it met, as their class and text.
        gone: Whether it has ended, or was killed.
    """

    def __init__(self, number: int, plan: Plan) -> None:
        self.number, self.plan = number, plan
        self.states: list[State] = [{}]
        self.next = 0
        self.acknowledged = self.unknown = self.retries = self.rows = 0
        self.errors: list[tuple[str, str]] = []
        self.gone = True
        self.pid: int | None = None
        self.ended: list[dict] = []
        self._begun: int | None = None

    def hear(self, record: dict) -> None:
        """Take in what it told; what it reports must be possible."""
        if "alive" in record:
            self.pid = record["alive"]
        elif "begins" in record:
            self._begun, self.next = record["begins"], record["begins"] + 1
        elif "ended" in record:
            self._begun = None
            self._check(record)
        else:
            assert record["gone"] in (0, -signal.SIGKILL), f"writer {self.number} failed"
            self.gone = True
            self._buried()

    def _buried(self) -> None:
        """Of the upsert that it had begun, the first chunks may be stored, from none to all of them."""
        if self._begun is not None and not self.plan.shared:
            chunks = self._chunks(self._begun)
            self._become([_after(state, chunks[:count]) for state in self.states for count in range(len(chunks) + 1)])
            self._begun = None

    @property
    def names(self) -> list[str]:
        """The series that are its own."""
        return [f"mark {self.number}"] + [f"own {self.number} {number}" for number in range(3)]

    def upsert(self, target: object) -> dict:
        """Do its next upsert in this process, and believe the report."""
        counter = self.next
        self.hear({"begins": counter})
        record = {"ended": counter, **outcome(target, upsert_of(self.number, counter, self.plan))}
        self.hear(record)
        return record

    def upsert_was_made_elsewhere(self) -> None:
        """A forked child did its next upsert, and said that it went through."""
        chunks = self._chunks(self.next)
        self._become([_after(state, chunks) for state in self.states])
        self.next += 1

    def settle(self, found: State) -> None:
        """Compare what may be stored with what is stored, which from now on is all that may be."""
        mine = {key: value for key, value in found.items() if key[1] in self.names}
        assert mine in self.states, f"writer {self.number}: {_difference(mine, self.states)}"
        self.states = [mine]

    def _check(self, record: dict) -> None:
        """Every report is exact: chunk by chunk, and row by row."""
        outcomes = "".join(letter * count for letter, count in record["outcomes"])
        self.ended.append(record)
        self.unknown += record["unknown"]
        self.retries += record["retries"]
        self.rows += record["stored"] + record["unchanged"]
        if record["error"] is None:
            self.acknowledged += 1
            assert set(outcomes) == {"A"}
        else:
            self.errors.append((record["error"], record["text"]))
        size = self.plan.chunk_rows
        letters = [set(outcomes[start : start + size]) for start in range(0, len(outcomes), size)]
        assert all(len(one) == 1 for one in letters), "a chunk is stored by half"
        kinds = "".join(one.pop() for one in letters)
        assert kinds in {"A" * kinds.count("A") + doubtful + "." * kinds.count(".") for doubtful in ("", "?")}, kinds
        counts = (record["stored"] + record["unchanged"], record["unsent"], record["unknown"])
        assert counts == tuple(outcomes.count(letter) for letter in "A.?")
        if self.plan.shared:
            return
        possible, chunks = [], self._chunks(record["ended"])
        stored = chunks[: kinds.count("A")]
        for state in self.states:
            after = _after(state, stored)
            if _differing(state, stored) == record["stored"]:
                possible.append(after)
                if "?" in kinds:
                    possible.append(_after(after, [chunks[len(stored)]]))
        expected = [_differing(state, stored) for state in self.states]
        assert possible, f"writer {self.number} reports {record}, but {expected} rows differed"
        self._become(possible)

    def _chunks(self, counter: int) -> list[list[tuple[tuple[int, str], str]]]:
        rows = [(key, value.hex()) for key, value in rows_of(upsert_of(self.number, counter, self.plan))]
        size = self.plan.chunk_rows
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _become(self, states: list[State]) -> None:
        self.states = list({frozenset(state.items()): state for state in states}.values())


def _after(state: State, chunks: list[list[tuple[tuple[int, str], str]]]) -> State:
    return state | {key: value for chunk in chunks for key, value in chunk}


def _differing(state: State, chunks: list[list[tuple[tuple[int, str], str]]]) -> int:
    return sum(state.get(key) != value for chunk in chunks for key, value in chunk)


def _difference(found: State, states: list[State]) -> str:
    nearest = min(states, key=lambda state: len(found.items() ^ state.items()))
    missing = {key: value for key, value in nearest.items() if found.get(key) != value}
    return (
        f"{len(states)} states are possible; to the nearest, {len(missing)} rows are missing or differ"
        f" ({dict(list(missing.items())[:5])}), and {len(found.keys() - nearest.keys())} are not explained"
    )


def stored_in(url: str, names: Sequence[str] | None = None) -> State:
    """What a store holds, of these series or of all."""
    with connect(url) as temporis:
        frame = temporis.data_source(SOURCE).read(names=names)
    keys = zip(frame["timestamp"].astype("int64").tolist(), frame["name"].tolist(), strict=True)
    return {key: value.hex() for key, value in zip(keys, frame["value"].tolist(), strict=True)}


def until_settled(server: Postgres, url: str) -> None:
    """Wait until no transaction is open in this database: a backend whose client was killed may still commit."""
    name = sa.make_url(url).database
    with server.connect() as connection:
        count = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state <> 'idle' AND pid <> pg_backend_pid()"
        )
        while connection.execute(count, (name,)).fetchone() != (0,):
            pass
