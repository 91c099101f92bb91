"""Which data sources are archived, asked at a tick with a short deadline.

Comes in: the tick's resource and the names of data sources. Goes out: those that answered that they are archived.
Never: stops automation because a data source could not be asked, or holds up a tick until Dagster gives up on it.
"""

from collections.abc import Sequence
from concurrent.futures import Future

from temporis_dagster.ask_all import ask_all
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.resource import TemporisResource
from temporis_dagster.schedules.tick_resource import TickContext

ANSWER_WITHIN_S = 20.0
"""Dagster gives a tick 60 seconds, while a request with its retries may take minutes."""


def archived_data_sources(
    context: TickContext,
    temporis: TemporisResource | None,
    names: Sequence[str],
    *,
    answer_within_s: float = ANSWER_WITHIN_S,
) -> list[str]:
    """Return the data sources that are archived. Those whose state could not be determined are logged and left out.

    Args:
        context: The context of the tick.
        temporis: The resource; None if the code location cannot make it, which was logged before.
        names: The data sources.
        answer_within_s: How many seconds to wait for all answers together.
    """
    if not names:
        context.log.warning(
            "No asset names its data source in the metadata 'temporis/data_source', so no archive state is checked."
        )
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
            context.log.warning("The archive state of data source %r is unknown: %s", name, _words(state))
    return archived


def _state(answer: "Future[ArchiveState] | None") -> ArchiveState | BaseException | None:
    """Return the state, the error that was raised instead, or None if no answer came in time."""
    return None if answer is None else answer.exception() or answer.result()


def _words(state: ArchiveState | BaseException | None) -> str:
    if state is None:
        return "It did not answer in time."
    return str(state) if isinstance(state, BaseException) else "The service does not reveal it."
