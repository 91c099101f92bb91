"""How a script measures: ways that do the same work, in turns, round after round.

Comes in: from each script, tables with their ways. Goes out: every figure of every round, for ``results``. Never: a
figure that was not measured in the same run as the one it is compared with.

A script is a module with a function ``tables(given)`` that yields one `Table` after the other::

    def tables(given: Given) -> Iterator[Table]:
        table = Table("store-upsert", "Upsert into SQLite", base="raw loop", goals=[Goal(...)])
        frame = frames.long_frame(given.rows)
        ways = {"temporis": partial(ours, frame), "raw loop": partial(sqlite_loop, frame)}
        yield in_turns(table, ways, given.rounds)

    def ours(frame: pd.DataFrame, turn: Turn) -> None:
        with TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/temporis.db") as temporis:
            source = temporis.create_data_source("metrics")
            with turn.measure("fresh", rows=len(frame)):
                source.upsert(frame)
"""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).parents[1]
ROWS, ROUNDS = 1_000_000, 5
MANY = 10
"""Tables of memory have as many times the rows: 10,000,000."""


@dataclass(frozen=True)
class Given:
    """What a run was asked for.

    Attributes:
        rows: Of an ordinary table. Slow peers get fewer, and tables of memory ten times as many.
        rounds: How often every way is measured. Medians need at least 5.
        postgres: The URL of an empty database on a PostgreSQL server of this machine that has nothing else to do, for a
            superuser. Without it a server is started from a wheel, if that is installed.
        duckdb_python: An interpreter that has dagster-duckdb-pandas.
        smoke: Do everything in this process, to see only that it works.
    """

    rows: int = ROWS
    rounds: int = ROUNDS
    postgres: str | None = None
    duckdb_python: str | None = None
    smoke: bool = False

    @property
    def many(self) -> int:
        """The rows of tables about memory."""
        return MANY * self.rows

    def apart(self, work: Callable[..., Mapping[str, float]], **arguments: object) -> Mapping[str, float]:
        """Do some work in a process of its own, so that its memory and its imports are its own.

        Args:
            work: A function of a module of this package, which returns figures by name.
            arguments: What JSON can hold.

        Returns:
            The figures.
        """
        if self.smoke:
            return work(**arguments)
        return _figures_of([sys.executable], work.__module__, work.__name__, arguments)


def _figures_of(python: list[str], module: str, function: str, arguments: Mapping[str, object]) -> Mapping[str, float]:
    command = [*python, "-m", "benchmarks.apart", module, function, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def elsewhere(python: str, work: Callable[..., Mapping[str, float]], **arguments: object) -> Mapping[str, float]:
    """Do some work in another interpreter, which has packages that conflict with those here."""
    return _figures_of([python], work.__module__, work.__name__, arguments)


@dataclass(frozen=True)
class Goal:
    """A line that should be reached.

    Attributes:
        line: Which number of the list in docs/benchmarks.md it belongs to.
        what: What is measured, in words.
        way: Whose figure it is.
        step: Of which step.
        at_least: The lowest value that reaches the line, if there is one.
        at_most: The highest value that reaches it, if there is one.
        over: With this way, a ratio: how many times as fast it is.
        above: With this way, a difference of figures.
        figure: Which figure: for ratios, ``wall_s`` or ``processor_s``.
        unit: Follows the numbers, such as MB; "x" for ratios.
    """

    line: int
    what: str
    way: str
    step: str
    at_least: float | None = None
    at_most: float | None = None
    over: str | None = None
    above: str | None = None
    figure: str = "wall_s"
    unit: str = "x"


class Turn:
    """One turn of one way: what it measures belongs to this round."""

    def __init__(self, found: dict[str, list[dict[str, float]]]) -> None:
        self._found = found

    @contextmanager
    def measure(self, step: str, *, rows: int = 0) -> Iterator[dict[str, float]]:
        """Measure what the block does: ``wall_s``, and ``processor_s`` of this process.

        Args:
            step: What is done, such as *fresh*.
            rows: How many rows it is done to, if that is a speed.

        Yields:
            The figures, to which the caller may add more, also after the block.
        """
        figures: dict[str, float] = {"rows": rows} if rows else {}
        gc.collect()
        wall, processor = time.perf_counter(), time.process_time()
        yield figures
        figures["wall_s"] = time.perf_counter() - wall
        figures["processor_s"] = time.process_time() - processor
        self._found.setdefault(step, []).append(figures)

    def note(self, step: str, figures: Mapping[str, float]) -> None:
        """Take figures that were measured elsewhere, such as in a process of its own.

        Args:
            step: What was done.
            figures: By name, such as ``wall_s`` and ``peak_mb``.
        """
        self._found.setdefault(step, []).append(dict(figures))


Way: TypeAlias = Callable[[Turn], None]


@dataclass
class Table:
    """Some ways that do the same work, and what was measured.

    Attributes:
        name: The marker in docs/benchmarks.md.
        title: What is measured, on what: a caption.
        base: The way with which the others are compared; None for a table without ratios.
        base_step: The step with which the other steps of the same way are compared, instead.
        columns: Headings by figure. ``rate`` is thousand rows per second, ``ratio`` how many times as fast as the base
            by the clock, ``processor_ratio`` the same by processor time; others are figures that were measured.
        goals: Lines that should be reached here.
        peers: What the other ways are, with which settings: from ``SETTINGS`` of their modules.
        left_out: Ways that could not be measured, and why.
        found: The figures, by way and step, one for each round.
    """

    name: str
    title: str
    base: str | None = None
    base_step: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    peers: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    found: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.columns:
            speeds = {"rate": "thousand rows/s", "ratio": "by the clock", "processor_ratio": "by processor time"}
            self.columns = speeds if self.base or self.base_step else {"wall_s": "s", "processor_s": "processor, s"}

    def peer(self, way: str, baseline: str, *needs: str) -> bool:
        """Whether a baseline can be measured here. Its settings, or what it lacks, are noted.

        Args:
            way: What the table calls it.
            baseline: The name of its file under ``baselines``, which has ``SETTINGS``.
            needs: The modules that it imports.
        """
        missing = [name for name in needs if not installed(name)]
        if missing:
            self.left_out[way] = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        else:
            settings = importlib.import_module(f"benchmarks.baselines.{baseline}").SETTINGS
            self.peers[way] = f"`benchmarks/baselines/{baseline}.py`: {settings}"
        return not missing

    def as_json(self) -> dict[str, Any]:
        """Everything, for ``results.json``."""
        return asdict(self)


def installed(module: str) -> bool:
    """Whether this module can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def in_turns(table: Table, ways: Mapping[str, Way], rounds: int) -> Table:
    """Measure each way once per round; another one begins each round, so that none always follows the same one.

    Args:
        table: Where the figures go.
        ways: By the names that the table shows, in its order.
        rounds: How many.

    Returns:
        The table.
    """
    names = list(ways)
    table.found = {name: {} for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if name in table.found:
                _take(table, name, ways[name])
    return table


def warm_up(ways: Mapping[str, Way]) -> None:
    """Let each way do its work once without a measurement, on few rows, so that all that is imported is.

    A way that fails here is left to its turn.
    """
    for way in ways.values():
        with suppress(Exception):
            way(Turn({}))


def _take(table: Table, name: str, way: Way) -> None:
    """One turn. A peer that fails is left out, and the table says so; a way of ours that fails ends the run."""
    try:
        way(Turn(table.found[name]))
    except Exception as error:
        if name not in table.peers or name == table.base:
            raise
        del table.found[name], table.peers[name]
        table.left_out[name] = f"it failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def scripts() -> list[str]:
    """The names of all scripts: modules of this package that have tables."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef tables(" in path.read_text())


def tables_of(script: str, given: Given) -> Iterator[Table]:
    """The tables of a script, as they are measured."""
    yield from importlib.import_module(f"benchmarks.{script}").tables(given)
