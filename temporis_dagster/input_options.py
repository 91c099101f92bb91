"""The options of an input, in its metadata: which series it reads, and whether partitions may be missing.

``dg.AssetIn(metadata={"temporis/series": ["orders"], "allow_missing_partitions": True})``; ``columns`` is another name
of ``temporis/series``, as Dagster's database IO managers have it.

Comes in: the metadata of an input. Goes out: checked options; the series of an asset that an input reads.
Never: reads observations, or knows partitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import dagster as dg

from temporis_dagster.asset_options import SEVERAL, own_series
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import NAMESPACE, SERIES
from temporis_dagster.write_options import OwnSeries

ALLOW_MISSING = "allow_missing_partitions"
"""As Dagster's own file IO managers spell it."""

COLUMNS = "columns"
"""As Dagster's own database IO managers spell it."""

OPTIONS = (SERIES, COLUMNS, ALLOW_MISSING)


@dataclass(frozen=True)
class InputOptions:
    """What the metadata of an input ask for.

    Attributes:
        series: The series to read, or templates of them; None for all that the upstream asset has.
        allow_missing: Whether partitions that were never materialized are left out.
    """

    series: OwnSeries | None = None
    allow_missing: bool = False


def input_options(metadata: Mapping[str, Any] | None) -> InputOptions:
    """Return the options of an input.

    Args:
        metadata: The input's metadata. Keys of other packages are ignored.

    Raises:
        ConfigurationError: An option does not take its value, a ``temporis/...`` key is not an option, or the series
            are given twice.
    """
    given = {
        key: value.value if isinstance(value, dg.MetadataValue) else value for key, value in (metadata or {}).items()
    }
    for key in given:
        if key.startswith(NAMESPACE) and key != SERIES:
            options = {option.removeprefix(NAMESPACE): option for option in OPTIONS}
            close = get_close_matches(key.removeprefix(NAMESPACE), options, n=1)
            meant = f"Did you mean {options[close[0]]!r}?" if close else f"An input may have: {', '.join(OPTIONS)}."
            raise ConfigurationError(f"{key!r} is not an option of an input. {meant}")
    if SERIES in given and COLUMNS in given:
        raise ConfigurationError(f"The input's metadata have {SERIES!r} and {COLUMNS!r}. Pass only one of them.")
    allowed = given.get(ALLOW_MISSING, False)
    if not isinstance(allowed, bool):
        raise ConfigurationError(f"{ALLOW_MISSING} of the input's metadata must be True or False, got {allowed!r}.")
    key = COLUMNS if COLUMNS in given else SERIES
    return InputOptions(_series(key, given[key]) if key in given else None, allowed)


def _series(key: str, given: object) -> OwnSeries:
    if given is None or (key == COLUMNS and not isinstance(given, SEVERAL)):
        wanted = "a list of exact names" if key == COLUMNS else "a list of exact names, or a prefix"
        raise ConfigurationError(f"{key} of the input's metadata must be {wanted}, got {given!r}.")
    try:
        return own_series(given)
    except ConfigurationError as error:
        raise ConfigurationError(f"{key} of the input's metadata: {error}") from None


def narrowed(own: OwnSeries, asked: OwnSeries) -> OwnSeries:
    """Return the series that are both an asset's own and asked for; templates of both are filled in.

    Examples:
        >>> narrowed(own_series("load_"), own_series(["load_N", "price_N"])).names
        ('load_N',)
        >>> narrowed(own_series(["load_N", "price_N"]), own_series("load_")).names
        ('load_N',)
        >>> narrowed(own_series("load_"), own_series("load_N")).prefixes
        ('load_N',)
    """
    if asked.names is not None:
        return OwnSeries(names=tuple(name for name in dict.fromkeys(asked.names) if name in own))
    if own.names is not None:
        return OwnSeries(names=tuple(name for name in own.names if name in asked))
    pairs = [(one, other) for one in own.prefixes for other in asked.prefixes]
    both = {max(pair, key=len) for pair in pairs if pair[0].startswith(pair[1]) or pair[1].startswith(pair[0])}
    return OwnSeries(prefixes=tuple(sorted(both)))
