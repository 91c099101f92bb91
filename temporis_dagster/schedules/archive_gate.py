"""Whether a data source is archived, asked at a tick: soon answered, or not known.

Comes in: the tick's resources and the names of data sources. Goes out: those that are archived, for certain.
Never: stops automation because a data source could not be asked, or holds a tick until Dagster gives up on it.
"""

from collections.abc import Sequence
from concurrent.futures import Future

from temporis_dagster.ask_all import ask_all
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
    answers = ask_all(lambda name: temporis.data_source(name).archive_state(), names, answer_within_s)
    archived = []
    for name in names:
        state = _state(answers.get(name))
        if state is ArchiveState.ARCHIVED:
            archived.append(name)
        elif state is not ArchiveState.ACTIVE:
            context.log.warning("The archive state of %r is not known: %s", name, _words(state))
    return archived


def _state(answer: "Future[ArchiveState] | None") -> ArchiveState | BaseException | None:
    """The state, the error that came instead, or None where no answer came in time."""
    return None if answer is None else answer.exception() or answer.result()


def _words(state: ArchiveState | BaseException | None) -> str:
    if state is None:
        return "it did not answer in time."
    return str(state) if isinstance(state, BaseException) else "the service does not say."
