"""The options of an asset: its data source, its own series, how its frames are read.

Comes in: an IO manager's configuration and the asset's ``temporis/...`` metadata. Goes out: checked options.
Never: connects, or looks at data.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, cast, get_args

import dagster as dg

from temporis_dagster import metadata_keys
from temporis_dagster.contract import ensure_data_source_name, series_name_fault
from temporis_dagster.data_source.observations import Contracts, ObservationArguments, ObservationOptions, Series
from temporis_dagster.data_source.observations.series import series_from
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.frame_schema import ensure_schema_text
from temporis_dagster.metadata_keys import COMPONENT, CONTRACTS, NAMESPACE, QUERY, SCHEMA, SERIES, option_key
from temporis_dagster.series_of_parts import is_template, without_doubled_braces
from temporis_dagster.series_templates import SeriesTemplates
from temporis_dagster.write_options import (
    CHANGE_OPTIONS,
    AssetFrameOptions,
    AssetOptions,
    ComponentFrameOptions,
    OutsidePartition,
    OwnSeries,
    QueryFrameOptions,
    of_texts,
)

SEVERAL = (list, tuple, set, frozenset)
FRAME_OPTIONS = tuple(ObservationOptions.__dataclass_fields__)
PER_RUN_OPTIONS = ("data_source", "outside_partition", "plot", *CHANGE_OPTIONS, *FRAME_OPTIONS)
"""The options that a run may set. The asset's own series are not among them: a later load could not know."""

HOW_TO_NAME_A_DATA_SOURCE = (
    "Name it in one of three ways: @temporis_asset(data_source='store_metrics'), "
    "metadata={'temporis/data_source': 'store_metrics'} on the asset or its output, "
    "or TemporisIOManager(data_source='store_metrics')."
)


def asset_options(
    configured: Mapping[str, object], definition: Mapping[str, Any], run: Mapping[str, Any]
) -> AssetOptions:
    """Return the options of one asset: the run's override the definition's, which override the IO manager's.

    Args:
        configured: The IO manager's configuration: options by name.
        definition: The asset's metadata; only keys like ``temporis/<option>`` are read.
        run: The output's metadata; likewise.

    Raises:
        ConfigurationError: No data source is named, an option does not take its value, or a key is misspelt.
    """
    ensure_known_keys(definition)
    given = options_given(configured, definition, run)
    if not given.get("data_source"):
        raise ConfigurationError(f"The asset does not name its data source. {HOW_TO_NAME_A_DATA_SOURCE}")
    return AssetOptions(
        data_source=cast("str", given["data_source"]),
        outside_partition=ensure_outside_partition(given["outside_partition"]),
        series=own_series(definition.get(SERIES)),
        frame=frame_options({option: given[option] for option in FRAME_OPTIONS}, definition),
        contracts=contracts_of(definition),
        schema=ensure_schema_text(_plain(definition.get(SCHEMA))),
        plot=ensure_plot(given["plot"]),
    )


def options_given(
    configured: Mapping[str, object], definition: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, object]:
    """Return the options, by name: the run's override the definition's, which override the IO manager's."""
    return {**configured, **options_said(definition), **options_said(run)}


def options_said(metadata: Mapping[str, Any]) -> dict[str, object]:
    """Return the options, by name, among the metadata of an asset, an output or a materialization."""
    keys = {option: option_key(option) for option in PER_RUN_OPTIONS}
    return {option: _plain(metadata[key]) for option, key in keys.items() if key in metadata}


def ensure_known_keys(definition: Mapping[str, Any]) -> None:
    """Refuse keys of an asset's metadata that look like ours but mean nothing: a typing error would have no effect.

    Args:
        definition: The asset's metadata. Keys of other packages are ignored.

    Raises:
        ConfigurationError: A key begins with ``temporis/``, and is none of ours.
    """
    known = {option_key(option).removeprefix(NAMESPACE) for option in PER_RUN_OPTIONS}
    ours = {key for key in vars(metadata_keys).values() if isinstance(key, str) and key.startswith(NAMESPACE)}
    known |= {key.removeprefix(NAMESPACE) for key in ours}
    for key in definition:
        if key.startswith(NAMESPACE) and key.removeprefix(NAMESPACE) not in known:
            close = get_close_matches(key.removeprefix(NAMESPACE), known, n=1)
            meant = (
                f"Did you mean {option_key(close[0])!r}?" if close else "Use a prefix of your own for other metadata."
            )
            raise ConfigurationError(f"The asset's metadata have {key!r}, which means nothing to us. {meant}")


def _plain(value: object) -> object:
    return value.value if isinstance(value, dg.MetadataValue) else value


def ensure_data_source(name: object) -> None:
    """Refuse what cannot name a data source in a definition, a ``dg.EnvVar`` included.

    Args:
        name: What the caller passed as a name.

    Raises:
        ConfigurationError: It cannot be the name of a data source.
    """
    if isinstance(name, dg.EnvVar):
        raise ConfigurationError(
            "A dg.EnvVar cannot name a data source: Dagster resolves it in a run, but the name is part of the "
            f"definition. Pass its value: os.environ[{name.env_var_name!r}]."
        )
    ensure_data_source_name(name)


def ensure_outside_partition(given: object) -> OutsidePartition:
    """Validate ``outside_partition`` and return it unchanged.

    Raises:
        ConfigurationError: It is not one of its three words.
    """
    if given not in get_args(OutsidePartition):
        allowed = ", ".join(map(repr, get_args(OutsidePartition)))
        raise ConfigurationError(f"outside_partition must be one of {allowed}, got {given!r}.")
    return cast("OutsidePartition", given)


def ensure_plot(given: object) -> bool:
    """Validate ``plot`` and return it unchanged.

    Raises:
        ConfigurationError: It is neither True nor False, or matplotlib is not installed.
    """
    if not isinstance(given, bool):
        raise ConfigurationError(f"plot must be True or False, got {given!r}.")
    if given and find_spec("matplotlib") is None:
        raise ConfigurationError("plot=True needs matplotlib. Install it: pip install 'temporis-dagster[plots]'.")
    return given


def frame_options(given: Mapping[str, object], definition: Mapping[str, Any]) -> ObservationOptions:
    """Return how to read a frame, with advice in terms of what the asset was defined with.

    Args:
        given: Options by name.
        definition: The asset's metadata.

    Raises:
        ConfigurationError: An option does not take its value.
    """
    for option in ("timestamp", "name", "value"):
        if isinstance(given.get(option), list | dict):
            raise ConfigurationError(f"{option} must be the name of one column, got {given[option]!r}.")
    surface = AssetFrameOptions
    if COMPONENT in definition:
        surface = QueryFrameOptions if QUERY in definition else ComponentFrameOptions
    return surface(**cast("ObservationArguments", given))


def own_series(given: object) -> OwnSeries:
    """Return the series of an asset, from a prefix, from exact names, or from None for every series.

    Each of them may be a template of the asset's partitions, such as ``load_{zone}``; see ``series_templates``.

    Raises:
        ConfigurationError: The argument is none of these, or includes what cannot be the name of a series.
    """
    given = _plain(given)
    if given is None:
        return OwnSeries()
    texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, SEVERAL) else ()
    fault = next(filter(None, map(series_name_fault, texts)), None if texts else "it names no series")
    if fault:
        raise ConfigurationError(f"series={given!r} cannot be used: {fault}. Pass a list of exact names, or a prefix.")
    exact = not isinstance(given, str)
    if any(map(is_template, texts)):
        return OwnSeries(templates=SeriesTemplates(texts, exact))
    texts = tuple(map(without_doubled_braces, texts))
    return of_texts(texts, exact=exact)


def contracts_of(definition: Mapping[str, Any]) -> tuple[Series, ...]:
    """Return what an asset states about its series.

    Args:
        definition: The asset's metadata.

    Raises:
        ConfigurationError: The metadata hold something other than contracts, or two for one name.
    """
    given = _plain(definition.get(CONTRACTS, ()))
    if not isinstance(given, SEVERAL):
        raise ConfigurationError(f"{CONTRACTS} must be a list of contracts, got {given!r}.")
    contracts = tuple(map(series_from, given))
    Contracts(contracts)
    return contracts


def contracts_for_partitions(
    contracts: Iterable[Series], partitions_def: dg.PartitionsDefinition | None, keys: Iterable[str] | None
) -> tuple[Series, ...]:
    """Return contracts with the templates among their names and prefixes filled in.

    Args:
        contracts: What an asset states about its series.
        partitions_def: The asset's partitions; None if it has none.
        keys: The partitions; None for all. Then contracts of dynamic partitions are left out.

    Raises:
        ConfigurationError: The templates do not fit the partitions.

    Examples:
        >>> zones = dg.StaticPartitionsDefinition(["north", "south"])
        >>> contracts_for_partitions([Series("load_{partition}", unit="MW")], zones, ["north"])
        (Series('load_north', unit='MW'),)
    """
    filled: list[Series] = []
    known = None if keys is None else tuple(keys)
    for contract in contracts:
        exact = contract.name is not None
        text = str(contract.name if exact else contract.prefix)
        if is_template(text):
            templates = SeriesTemplates((text,), exact)
            every = known is None
            parts = templates.of_all_parts(partitions_def) if every else templates.of_parts(partitions_def, known or ())
            texts = parts.texts if parts else ()
        else:
            texts = (without_doubled_braces(text),)
        filled.extend(replace(contract, name=each) if exact else replace(contract, prefix=each) for each in texts)
    return tuple(filled)


def names_and_contracts(given: object) -> tuple[object, tuple[Series, ...]]:
    """Tell the names and the prefix of an asset's own series from what is stated about them.

    Args:
        given: A prefix, or a list of exact names and contracts.

    Returns:
        What ``own_series`` takes, and the contracts.

    Raises:
        ConfigurationError: Families with different prefixes, or a family and other names: the series of an asset are
            exact names, or those with one prefix.

    Examples:
        >>> names_and_contracts(["orders", Series("revenue", unit="EUR")])
        (['orders', 'revenue'], (Series('revenue', unit='EUR'),))
        >>> names_and_contracts([Series(prefix="load_", minimum=0), Series("load_de", maximum=100)])[0]
        'load_'
    """
    if isinstance(given, Series):
        raise ConfigurationError(f"series={given!r} cannot be used. Pass a list: series=[{given!r}].")
    if not isinstance(given, SEVERAL):
        return given, ()
    contracts = tuple(one for one in given if isinstance(one, Series))
    Contracts(contracts)
    names: list[Any] = [one.name or one.prefix if isinstance(one, Series) else one for one in given]
    families = [one.prefix for one in contracts if one.prefix is not None]
    if not families:
        return names, contracts
    widest = min(families, key=len)
    if apart := [name for name in names if not str(name).startswith(widest)]:
        raise ConfigurationError(
            f"series={list(given)!r} cannot be used: {apart[0]!r} does not begin with {widest!r}. The series of an"
            f" asset are exact names, or those with one prefix. {_how_to_nest([str(name) for name in names], widest)}"
            " Otherwise state each name exactly, or divide the series between assets."
        )
    return widest, contracts


def _how_to_nest(names: list[str], widest: str) -> str:
    """Say how to state several families: as parts of one that is wider.

    >>> _how_to_nest(["wind_power_", "wind_speed_"], "wind_power_")
    "All of these begin with 'wind_': state a contract of that prefix as well."
    """
    starts = [widest[: word.end()] for word in re.finditer(r"[\W_]+", widest)]
    if common := [start for start in starts if all(name.startswith(start) for name in names)]:
        return f"All of these begin with {common[-1]!r}: state a contract of that prefix as well."
    return (
        f"For several families, let all names begin with one more prefix, such as 'site_' in {'site_' + widest!r}, and"
        " state a contract of that prefix, 'site_', as well."
    )
