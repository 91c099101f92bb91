"""The ``TemporisResource`` at a tick, if the code location can make it.

Comes in: a tick's context and the key of the resource. Goes out: the resource, or None with a warning.
Never: fails a tick because the code location lacks an environment variable that the runs have.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeAlias, cast

import dagster as dg

from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_values import printable
from temporis_dagster.resource import TemporisResource

TickContext: TypeAlias = dg.ScheduleEvaluationContext | dg.SensorEvaluationContext


@contextmanager
def temporis_at_tick(context: TickContext, resource_key: str) -> Iterator[TemporisResource | None]:
    """Provide the resource for the duration of a tick; None, with a warning, if it cannot be made here.

    Dagster makes the resources that a sensor *requires* before it calls the sensor, and fails the tick if one cannot be
    made. So the resource is not required, but looked up in the code location.

    Args:
        context: The context of the tick.
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
                "Resource %r cannot be created in this code location, so no archive state is checked and runs are "
                "launched: %s",
                resource_key,
                printable(str(error)),
            )
            resource = None
        yield resource


def _given(context: TickContext, resource_key: str) -> TemporisResource | None:
    """Return the resource that the context itself has, as contexts in tests do."""
    return cast("TemporisResource | None", getattr(context.resources, resource_key, None))


def _definitions(context: TickContext, resource_key: str) -> Mapping[str, dg.ResourceDefinition]:
    """Return the definitions of the resource and of those that it requires."""
    known = cast("dg.RepositoryDefinition", context.repository_def).get_top_level_resources()
    if resource_key not in known:
        raise ConfigurationError(
            f"The code location has no resource {resource_key!r}. Add a TemporisResource under that key to its "
            "Definitions, or pass the right key as resource_key=."
        )
    return {key: known[key] for key in (resource_key, *known[resource_key].required_resource_keys) if key in known}
