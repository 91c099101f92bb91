"""What an asset says about itself: its data source, its series, how its frames are to be read.

Comes in: an IO manager's configuration and the asset's ``temporis/...`` metadata. Goes out: checked options.
Never: connects, or looks at data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias, cast, get_args

import dagster as dg

from temporis_dagster.contract import series_name_fault
from temporis_dagster.data_source.observations import ObservationArguments, ObservationOptions
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import NAMESPACE, SERIES, option_key

OutsidePartition: TypeAlias = Literal["raise", "drop", "allow"]

SEVERAL = (list, tuple, set, frozenset)
FRAME_OPTIONS = tuple(ObservationOptions.__dataclass_fields__)
PER_RUN_OPTIONS = ("data_source", "outside_partition", "plot", *FRAME_OPTIONS)
"""What a run may decide. Which series are the asset's own is not among them: a later load could not know."""

HOW_TO_NAME_A_DATA_SOURCE = (
    "Name it in one of three ways: @temporis_asset(data_source='store_metrics'), "
    "metadata={'temporis/data_source': 'store_metrics'} on the asset or its output, "
    "or TemporisIOManager(data_source='store_metrics')."
)


class AssetFrameOptions(ObservationOptions):
    """``ObservationOptions`` of an asset, where advice spells them as its metadata does.

    >>> AssetFrameOptions().spelled("on_invalid", "drop")
    "temporis/on_invalid='drop' (asset metadata)"
    """

    LIST_OF_INVALID = "The failure's temporis/invalid_rows shows the first of them."
    LIST_OF_REJECTED = "The failure's temporis/rejected_rows shows the first of them."
    LIST_OF_SUPERSEDED = "The materialization's temporis/conflict_rows shows the first of them."

    def spelled(self, argument: str, value: object = ...) -> str:
        """An option as metadata, which an asset, its output and a component's asset all take."""
        return f"{NAMESPACE}{super().spelled(argument, value).removesuffix('=')} (asset metadata)"


@dataclass(frozen=True)
class OwnSeries:
    """The series that an asset may write and reads back: exact names, or all that start with a prefix.

    Attributes:
        names: The exact names, or None where a prefix decides.
        prefix: What every name starts with.
    """

    names: tuple[str, ...] | None = None
    prefix: str = ""

    def __contains__(self, name: str) -> bool:
        return name.startswith(self.prefix) if self.names is None else name in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.names or ())  # a tuple of thousands is slow to search

    def __str__(self) -> str:
        return f"those that start with {self.prefix!r}" if self.names is None else ", ".join(map(repr, self.names))


@dataclass(frozen=True)
class AssetOptions:
    """How one asset is written and read.

    Attributes:
        data_source: The name of its data source.
        outside_partition: What becomes of rows outside the partitions of a run.
        series: Its own series; by default every series of the data source.
        frame: How its frames are to be read.
        plot: Whether a materialization shows a plot of what was written.
    """

    data_source: str
    outside_partition: OutsidePartition
    series: OwnSeries
    frame: ObservationOptions
    plot: bool = False


def asset_options(
    configured: Mapping[str, object], definition: Mapping[str, Any], run: Mapping[str, Any]
) -> AssetOptions:
    """The options of one asset: what its run says, over its definition, over the IO manager's configuration.

    Args:
        configured: Options by name.
        definition: The asset's metadata; ``temporis/<option>`` counts.
        run: The output's metadata.

    Raises:
        ConfigurationError: No data source is named, or an option has a value that it does not take.
    """
    said = {**configured, **options_said(definition), **options_said(run)}
    if not said.get("data_source"):
        raise ConfigurationError(f"The asset's data source is not known. {HOW_TO_NAME_A_DATA_SOURCE}")
    return AssetOptions(
        data_source=cast("str", said["data_source"]),
        outside_partition=ensure_outside_partition(said["outside_partition"]),
        series=own_series(_plain(definition.get(SERIES))),
        frame=frame_options({option: said[option] for option in FRAME_OPTIONS}),
        plot=ensure_plot(said["plot"]),
    )


def options_said(metadata: Mapping[str, Any]) -> dict[str, object]:
    """The options among the metadata of an asset, an output or a materialization, by name."""
    keys = {option: option_key(option) for option in PER_RUN_OPTIONS}
    return {option: _plain(metadata[key]) for option, key in keys.items() if key in metadata}


def _plain(value: object) -> object:
    return value.value if isinstance(value, dg.MetadataValue) else value


def ensure_outside_partition(said: object) -> OutsidePartition:
    """The option as it is.

    Raises:
        ConfigurationError: It is none of its three words.
    """
    if said not in get_args(OutsidePartition):
        allowed = ", ".join(map(repr, get_args(OutsidePartition)))
        raise ConfigurationError(f"outside_partition={said!r} is not known. Use one of {allowed}.")
    return cast("OutsidePartition", said)


def ensure_plot(said: object) -> bool:
    """The option as it is.

    Raises:
        ConfigurationError: It is neither True nor False, or what draws plots is not installed.
    """
    if not isinstance(said, bool):
        raise ConfigurationError(f"plot={said!r} is not known. Use True or False.")
    if said and find_spec("matplotlib") is None:
        raise ConfigurationError("plot=True needs matplotlib. Install it: pip install 'temporis-dagster[plots]'.")
    return said


def frame_options(said: Mapping[str, object]) -> ObservationOptions:
    """How to read a frame, from options by name.

    Raises:
        ConfigurationError: An option has a value that it does not take.
    """
    for option in ("timestamp", "name", "value"):
        if isinstance(said.get(option), list | dict):
            raise ConfigurationError(f"{option}={said[option]!r} is not a column. Name one column.")
    return AssetFrameOptions(**cast("ObservationArguments", said))


def own_series(said: object) -> OwnSeries:
    """The series of an asset, from what it says: a prefix, exact names, or None for every series.

    Raises:
        ConfigurationError: Neither of those, or a name that no series can have.
    """
    if said is None:
        return OwnSeries()
    names = (said,) if isinstance(said, str) else tuple(said) if isinstance(said, SEVERAL) else ()
    fault = next(filter(None, map(series_name_fault, names)), None if names else "there is nothing in it")
    if fault:
        raise ConfigurationError(f"series={said!r} cannot be used: {fault}. Give a list of exact names, or a prefix.")
    return OwnSeries(prefix=said) if isinstance(said, str) else OwnSeries(names=names)
