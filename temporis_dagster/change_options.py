"""Which changes to stored rows an asset allows: its limits, and what happens to ghost rows.

Comes in: options by name, as an asset, its metadata or an IO manager states them. Goes out: checked options, or a
ConfigurationError.
Never: compares anything with a limit, or knows what is stored.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast, get_args

import dagster as dg

from temporis_dagster.data_source.plan import Limits
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.partition_parts import parts_of
from temporis_dagster.partition_windows import has_time
from temporis_dagster.write_options import LIMITS, ChangeOptions, GhostRows, OutsidePartition, OwnSeries

Share: TypeAlias = int | float
"""An integer is a number of rows, a float up to 1.0 a share of the rows stored in the windows."""

MAX_GHOSTS = 0.25
"""The limit of an asset whose ghost rows are deleted, unless it states its own."""


def change_options(given: Mapping[str, Any]) -> ChangeOptions:
    """Return the checked options.

    Args:
        given: Options by name; those that are missing or None are not set, and others are not looked at.

    Raises:
        ConfigurationError: An option does not take its value.
    """
    ghost_rows = ensure_ghost_rows(given.get("ghost_rows"))
    limits = {name: given[name] for name in LIMITS if given.get(name) is not None}
    if ghost_rows == "delete":
        limits.setdefault("max_ghosts", MAX_GHOSTS)
    return ChangeOptions(Limits(**limits) if limits else None, ghost_rows)


def ensure_ghost_rows(given: object) -> GhostRows:
    """Validate ``ghost_rows`` and return it; None means ``"keep"``.

    Raises:
        ConfigurationError: It is neither of its two words.
    """
    if given is None:
        return "keep"
    if given not in get_args(GhostRows):
        raise ConfigurationError(f"ghost_rows must be 'keep' or 'delete', got {given!r}.")
    return cast("GhostRows", given)


def number_in(option: str, text: str | None) -> Share | None:
    """Return the number that a text states: with a decimal point a float, otherwise an integer.

    Dagster's configuration has no type for a choice of the two.

    Examples:
        >>> number_in("max_changed", "1"), number_in("max_changed", "1.0"), number_in("max_changed", None)
        (1, 1.0, None)

    Raises:
        ConfigurationError: The text is not a number.
    """
    if text is None:
        return None
    try:
        return int(text) if text.strip().isdecimal() else float(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} must be a number, got {text!r}. Write '0.1' for a tenth of the stored rows, '10' for ten rows."
        ) from None


def ensure_can_delete(
    series: OwnSeries, partitions_def: dg.PartitionsDefinition | None, outside_partition: OutsidePartition | None
) -> None:
    """Refuse to delete ghost rows where rows of other writers could be taken for them.

    Args:
        series: The asset's own series.
        partitions_def: The asset's partitions.
        outside_partition: The asset's option of this name; None if it is not set.

    Raises:
        ConfigurationError: The asset does not say which series are its own, or no time window bounds what is deleted,
            or another dimension of its partitions is not in the names of its series.
    """
    if fault := _fault(series, partitions_def, outside_partition):
        raise ConfigurationError(f"ghost_rows cannot be 'delete': {fault} Otherwise leave ghost_rows out.")


def _fault(
    series: OwnSeries, partitions_def: dg.PartitionsDefinition | None, outside_partition: OutsidePartition | None
) -> str | None:
    if series.all:
        return (
            "the asset does not name its own series, so rows of other writers might be deleted. Name them, with series."
        )
    if partitions_def is None or not has_time(partitions_def):
        return (
            "the partitions of the asset have no time, so no window says which rows its frame would have to have. Use "
            "time partitions."
        )
    if series.templates is None and (parts := parts_of(partitions_def)) is not None:
        dimension = parts.dimensions[0]
        return (
            f"the names of the asset's series do not tell its partitions apart, so rows of another {dimension!r} might "
            f"be deleted. Put the dimension into the names, as in 'load_{{{dimension}}}'."
        )
    if outside_partition == "allow":
        return (
            "with outside_partition set to 'allow', runs of other partitions may have stored rows in the windows of "
            "this one, and they would be deleted. Use 'raise' or 'drop'."
        )
    return None
