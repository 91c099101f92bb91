"""The TemporisResource at a tick, where the code location can make it.

Comes in: a tick's context and the key of the resource. Goes out: the resource, or None with a warning.
Never: fails a tick because the code location lacks an environment variable that the runs have.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeAlias, cast

import dagster as dg

from temporis_dagster.dagster_failures import printable
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.resource import TemporisResource

TickContext: TypeAlias = dg.ScheduleEvaluationContext | dg.SensorEvaluationContext


@contextmanager
def temporis_at_tick(context: TickContext, resource_key: str) -> Iterator[TemporisResource | None]:
    """The resource for as long as the tick lasts; None where it cannot be made here, which is logged.

    Dagster makes the resources that a sensor *requires* before it calls it, and fails the tick where one cannot be
    made. So ours are looked up in the code location instead.

    Args:
        context: Of the tick.
        resource_key: The key of the ``TemporisResource``.

    Raises:
        ConfigurationError: The code location has no resource of that key.
    """
    with ExitStack() as stack:
        try:
            resource = _given(context, resource_key)
            if resource is None:
                definitions = _definitions(context, resource_key)
                made = stack.enter_context(dg.build_resources(definitions, instance=context.instance))
                resource = cast("TemporisResource", getattr(made, resource_key))
        except dg.DagsterError as error:
            context.log.warning(
                "Resource %r cannot be made in this code location, so no data source is asked for its state, and runs "
                "are launched: %s",
                resource_key,
                printable(str(error)),
            )
            resource = None
        yield resource


def _given(context: TickContext, resource_key: str) -> TemporisResource | None:
    """The resource that the context brings along, as those of tests do."""
    return cast("TemporisResource | None", getattr(context.resources, resource_key, None))


def _definitions(context: TickContext, resource_key: str) -> Mapping[str, dg.ResourceDefinition]:
    """The resource and those that it requires."""
    known = cast("dg.RepositoryDefinition", context.repository_def).get_top_level_resources()
    if resource_key not in known:
        raise ConfigurationError(
            f"The code location has no resource {resource_key!r}. Add TemporisResource(...) to its Definitions under "
            "that key, or name the key with resource_key=."
        )
    return {key: known[key] for key in (resource_key, *known[resource_key].required_resource_keys) if key in known}
