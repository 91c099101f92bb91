"""The options of a write, checked, as plain values: where to, what, and which changes to stored rows are allowed.

Comes in: nothing. Goes out: the types.
Never: checks an option (``asset_options`` and ``change_options`` do), or imports Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from temporis_dagster.data_source.observations import ObservationOptions, Series
from temporis_dagster.data_source.observations.advice import PYTHON
from temporis_dagster.data_source.plan import Limits
from temporis_dagster.frame_schema import SchemaText
from temporis_dagster.metadata_keys import NAMESPACE

if TYPE_CHECKING:
    import dagster as dg

    from temporis_dagster.series_templates import SeriesTemplates

OutsidePartition: TypeAlias = Literal["raise", "drop", "allow"]
GhostRows: TypeAlias = Literal["keep", "delete"]

CHANGE_OPTIONS = ("max_changed", "max_shift", "max_ghosts", "ghost_rows")
LIMITS = tuple(option for option in CHANGE_OPTIONS if option != "ghost_rows")


class AssetFrameOptions(ObservationOptions):
    """``ObservationOptions`` of an asset. Advice in errors spells them as the asset's metadata.

    >>> AssetFrameOptions().spelled("on_invalid", "drop")
    "temporis/on_invalid='drop' (asset metadata)"
    """

    LIST_OF_INVALID = "The failure's temporis/invalid_rows shows the first of them."
    LIST_OF_REJECTED = "The failure's temporis/rejected_rows shows the first of them."
    LIST_OF_SUPERSEDED = "The materialization's temporis/conflict_rows shows the first of them."

    def spelled(self, argument: str, value: object = ...) -> str:
        """Spell an option as metadata, which an asset, its output and a component's asset all take."""
        return f"{NAMESPACE}{super().spelled(argument, value).removesuffix('=')} (asset metadata)"


class ComponentFrameOptions(AssetFrameOptions):
    """``ObservationOptions`` of a component's asset. Advice in errors spells them as attributes in YAML.

    >>> ComponentFrameOptions().spelled("on_invalid", "drop"), ComponentFrameOptions().spelled("name")
    ('on_invalid: drop (attribute of the component)', 'name_column (attribute of the component)')
    """

    ADVICE = replace(
        PYTHON,
        index={**PYTHON.index, "numbers": "If these are Unix seconds, make them a column named 'timestamp'"},
        index_or_column="Leave one of them out.",
    )

    def spelled(self, argument: str, value: object = ...) -> str:
        """Spell an option as an attribute, whose names are those of ``@temporis_asset``."""
        attribute = "name_column" if argument == "name" else argument
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return f"{attribute}{'' if value is ... else f': {text}'} (attribute of the component)"


class QueryFrameOptions(ComponentFrameOptions):
    """``ObservationOptions`` of a component's asset that is filled by a SQL query. Advice in errors is about the query.

    >>> QueryFrameOptions().ADVICE.missing
    "leave the row out, with '... IS NOT NULL' in the query"
    """

    TEXT_AS_TIMESTAMP = "in the query, or say how the column holds time, with time_column"
    ADVICE = replace(
        ComponentFrameOptions.ADVICE,
        calendar_numbers="convert it in the query",
        calendar_fractions="convert it in the query",
        written="convert it in the query",
        passes="order the rows of each series as they happened, with ORDER BY in the query, or convert it there",
        booleans="convert it to a number in the query, or leave the column out",
        durations="convert it to a number in the query, or leave the column out",
        missing="leave the row out, with '... IS NOT NULL' in the query",
        integers="scale it or convert it to a float in the query",
        names="convert the names to text in the query",
        texts="convert it to a number in the query, or leave the column out",
    )


@dataclass(frozen=True)
class OwnSeries:
    """The series that an asset may write and reads back: exact names, or all with a prefix.

    Attributes:
        names: The exact names; None if prefixes decide.
        prefixes: The prefixes of which every name has one; the empty one admits every series.
        templates: What gives each partition series of its own; None if all partitions have the same. Until
            ``for_partitions`` has filled them in, any key counts.
    """

    names: tuple[str, ...] | None = None
    prefixes: tuple[str, ...] = ("",)
    templates: SeriesTemplates | None = None

    def for_partitions(self, partitions_def: dg.PartitionsDefinition | None, keys: Iterable[str]) -> OwnSeries:
        """Return the series of some partitions: without templates, those of the asset.

        Args:
            partitions_def: The asset's partitions; None if it has none.
            keys: The partitions.

        Raises:
            ConfigurationError: The templates do not fit the partitions.

        Examples:
            >>> import dagster as dg
            >>> from temporis_dagster.asset_options import own_series
            >>> zones = dg.StaticPartitionsDefinition(["north", "south"])
            >>> own_series(["load_{partition}"]).for_partitions(zones, ["north"]).names
            ('load_north',)
            >>> own_series("load_{partition}_").for_partitions(zones, ["north", "south"]).prefixes
            ('load_north_', 'load_south_')
        """
        if self.templates is None:
            return self
        return of_texts(self.templates.of_parts(partitions_def, keys).texts, exact=self.templates.exact)

    def for_all_partitions(self, partitions_def: dg.PartitionsDefinition | None) -> OwnSeries:
        """Return the series of all partitions. Templates of dynamic partitions, which no code knows, stay templates.

        Raises:
            ConfigurationError: The templates do not fit the partitions, or do not tell them apart.
        """
        if self.templates is None:
            return self
        self.templates.ensure_apart(partitions_def)
        every = self.templates.of_all_parts(partitions_def)
        return self if every is None else of_texts(every.texts, exact=self.templates.exact)

    def __contains__(self, name: str) -> bool:
        if self.templates is not None:
            return name in self.templates
        return name.startswith(self.prefixes) if self.names is None else name in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.names or ())  # a tuple of thousands is slow to search

    @property
    def all(self) -> bool:
        """Whether every series is among them."""
        return self.names is None and self.templates is None and "" in self.prefixes

    def __str__(self) -> str:
        texts = self.templates.texts if self.templates else self.prefixes if self.names is None else self.names
        exact = self.templates.exact if self.templates else self.names is not None
        return f"{'' if exact else 'those that start with '}{', '.join(map(repr, texts))}"


def of_texts(texts: tuple[str, ...], *, exact: bool) -> OwnSeries:
    """Return the series of exact names, or of prefixes."""
    return OwnSeries(names=texts) if exact else OwnSeries(prefixes=texts)


@dataclass(frozen=True)
class AssetOptions:
    """How one asset is written and read.

    Attributes:
        data_source: The name of its data source.
        outside_partition: What happens to rows outside the partitions of a run.
        series: Its own series.
        frame: How to read its frames.
        contracts: What it states about its series.
        schema: Its pandera schema.
        plot: Whether a materialization shows a plot of what was written.
    """

    data_source: str
    outside_partition: OutsidePartition
    series: OwnSeries
    frame: ObservationOptions
    contracts: tuple[Series, ...] = ()
    schema: SchemaText | None = None
    plot: bool = False


@dataclass(frozen=True)
class ChangeOptions:
    """Which changes to stored rows an asset allows.

    Attributes:
        limits: What a run may change at most; None if that is not limited.
        ghost_rows: What happens to stored rows that are no longer in the frame.
    """

    limits: Limits | None = None
    ghost_rows: GhostRows = "keep"

    @property
    def deletes(self) -> bool:
        """Whether ghost rows are deleted."""
        return self.ghost_rows == "delete"
