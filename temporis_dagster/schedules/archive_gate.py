"""Whether a data source is archived, asked at a tick: soon answered, or not known.

Comes in: the tick's resources and the names of data sources. Goes out: those that are archived, for certain.
Never: stops automation because a data source could not be asked, or holds a tick until Dagster gives up on it.
"""

import time
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.resource import TemporisResource
from temporis_dagster.schedules.tick_resource import TickContext

ANSWER_WITHIN_S = 20.0
"""Dagster gives a tick 60 s, and a delivery may retry for minutes."""


def archived_data_sources(
    context: TickContext,
    temporis: TemporisResource | None,
    names: Sequence[str],
    *,
    answer_within_s: float = ANSWER_WITHIN_S,
) -> list[str]:
    """The data sources that said they are archived. Those that could not say are logged, and not among them.

    Args:
        context: Of the tick.
        temporis: The connection; None where the code location cannot make it, which was logged.
        names: The data sources.
        answer_within_s: How long to wait for all of them together.
    """
    if not names:
        context.log.warning("No asset names its data source in metadata 'temporis/data_source', so none is asked.")
        return []
    if temporis is None:
        return []
    states = _states(temporis, names, answer_within_s)
    for name in names:
        if states.get(name) not in (ArchiveState.ACTIVE, ArchiveState.ARCHIVED):
            context.log.warning("The archive state of %r is not known: %s", name, _words(states.get(name)))
    return [name for name in names if states.get(name) is ArchiveState.ARCHIVED]


def _words(state: ArchiveState | Exception | None) -> str:
    if state is None:
        return "it did not answer in time."
    return str(state) if isinstance(state, Exception) else "the service does not say."


def _states(
    resource: TemporisResource, names: Iterable[str], answer_within_s: float
) -> dict[str, ArchiveState | Exception]:
    """Ask all at once, in threads that nobody waits for: a connection has no way to give up early."""
    answers: SimpleQueue[tuple[str, ArchiveState | Exception]] = SimpleQueue()
    asked = [Thread(target=_ask, args=(resource, name, answers), daemon=True) for name in names]
    for thread in asked:
        thread.start()
    deadline = time.monotonic() + answer_within_s
    known: dict[str, ArchiveState | Exception] = {}
    while len(known) < len(asked):
        try:
            name, answer = answers.get(timeout=max(deadline - time.monotonic(), 0.0))
        except Empty:
            break
        known[name] = answer
    return known


def _ask(resource: TemporisResource, name: str, answers: "SimpleQueue[tuple[str, ArchiveState | Exception]]") -> None:
    try:
        answers.put((name, resource.data_source(name).archive_state()))
    except Exception as error:  # noqa: BLE001  whatever it is, the state is not known
        answers.put((name, error))
