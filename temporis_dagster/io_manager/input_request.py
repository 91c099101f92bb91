"""What an input asks for, and what Dagster knows about it: partitions, their materializations, their data source.

Comes in: Dagster's context of an input. Goes out: the data source and the rows to read, or an error that says what to
do.
Never: reads observations.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import dagster as dg

from temporis_dagster.asset_options import options_said
from temporis_dagster.assets import data_source_key
from temporis_dagster.contract import is_data_source_name
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.event_log import latest_ids, latest_of_asset, latest_of_partitions, stored
from temporis_dagster.input_options import ALLOW_MISSING, input_options, narrowed
from temporis_dagster.io_manager.input_form import InputForm, input_form
from temporis_dagster.metadata_keys import SERIES_COUNT
from temporis_dagster.partition_parts import Parts, parts_of
from temporis_dagster.partition_windows import in_own_order, partition_windows
from temporis_dagster.series_of_parts import SeriesOfParts
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.wording import agreeing, counted
from temporis_dagster.write_options import OwnSeries
from temporis_dagster.writing.partition_series import (
    MOST_SEARCHED,
    listed,
    lists_series,
    spans_of_keys,
)
from temporis_dagster.writing.written_series import Spans

SHOWN_KEYS = 5


@dataclass(frozen=True)
class InputRequest:
    """What an input asks for.

    Attributes:
        data_source: The data source that was written to; None if neither a materialization nor a default names one.
        keys: The partitions, in their own order; None if the asset has none.
        windows: The time windows of the partitions; None for all of time.
        series: The series that are read.
        named: Those that the input asks for by name.
        spans: The series of each partition, with their first and last second, as materializations list them; None if
            time or templates tell the partitions apart, or if all of them are read.
        of_parts: The series of each partition, if templates give them; None if all of them are read at each time.
        form: As what the input wants its observations.
        series_count: How many series the materializations wrote: all that they list, otherwise the most that one of
            them counted; None if this is unknown.
    """

    data_source: str | None
    keys: Sequence[str] | None
    windows: PartitionWindows | None
    series: OwnSeries
    named: Sequence[str]
    spans: Mapping[str, Spans] | None
    of_parts: SeriesOfParts | None
    form: InputForm
    series_count: int | None


def request_of(context: dg.InputContext, default: str | None, own: OwnSeries, *, dry_run: bool) -> InputRequest:
    """Return what an input asks for.

    Args:
        context: Dagster's context of the input.
        default: The data source of materializations that name none.
        own: The upstream asset's own series.
        dry_run: Whether this run is itself a dry run: then what dry runs materialized counts, and the input gets
            whatever is stored.

    Raises:
        ConfigurationError: Something was never materialized, was written to several data sources, or does not tell
            which rows belong to which partition; or the input asks for what there cannot be. The message says what to
            do.
    """
    options = input_options(context.definition_metadata)
    form = input_form(context)
    apart = form.apart
    asked = (
        in_own_order(context.asset_partitions_def, context.asset_partition_keys, context.instance)
        if context.has_asset_partitions
        else []
    )
    if not context.has_asset_partitions and apart:
        raise ConfigurationError(
            f"{context.asset_key.to_user_string()} has no partitions, so this input cannot be a dict of frames. "
            "Annotate the input as a single frame, such as pd.DataFrame."
        )
    _ensure_not_of_this_run(context, asked)
    partitions_def = context.asset_partitions_def if context.has_asset_partitions else None
    if own.templates is not None:
        own.templates.ensure_apart(partitions_def, asked, context.instance)
    if _is_data_source(context, default):
        latest: Mapping[str | None, dg.AssetMaterialization] = {}
        keys = asked
    else:
        latest = _latest(context, asked, allow_missing=options.allow_missing, dry_run=dry_run)
        keys = [key for key in asked if key in latest]
    listed_apart = own.templates is None and not dry_run
    series = _series_to_read(context, own, options.series, partitions_def, keys)
    return InputRequest(
        data_source=_data_source(context, latest, default),
        keys=None if partitions_def is None else keys,
        windows=None if partitions_def is None else partition_windows(partitions_def, keys),
        series=series,
        named=() if options.series is None else series.names or (),
        spans=_spans(context, keys, latest, apart=apart) if listed_apart else None,
        of_parts=_of_parts(own, partitions_def, keys, apart=apart),
        form=form,
        series_count=_series_count(latest),
    )


def without_observations(found: Iterable[str], request: InputRequest) -> str | None:
    """Return a warning if some of the series that the input names have no observations: they may be misspelt.

    Args:
        found: The series that were read.
        request: What was asked for.
    """
    present = set(found)
    unseen = [name for name in request.named if name not in present]
    if not unseen:
        return None
    return f"There are no observations of {_shown(list(map(repr, unseen)))} in the partitions that are read."


def _series_to_read(
    context: dg.InputContext,
    own: OwnSeries,
    asked: OwnSeries | None,
    partitions_def: dg.PartitionsDefinition | None,
    keys: Sequence[str],
) -> OwnSeries:
    """Return the upstream asset's own series in these partitions, or those of them that the input asks for."""
    of_keys = own.for_partitions(partitions_def, keys)
    if asked is None:
        return of_keys
    wanted = asked.for_partitions(partitions_def, keys)
    series = narrowed(of_keys, wanted)
    strange = [name for name in wanted.names or () if name not in own]
    nothing = wanted.names is None and not (series.prefixes if series.names is None else series.names)
    if strange or (nothing and (keys or partitions_def is None)):
        shown = ", ".join(map(repr, strange[:SHOWN_KEYS])) if strange else str(wanted)
        raise ConfigurationError(
            f"The input asks {context.asset_key.to_user_string()} for series that are not its own: {shown}. Its "
            f"'temporis/series' are {own}. Ask for some of these, or read the asset that writes the others. A data "
            "source itself (data_source_spec) has all of its series."
        )
    return series


def _series_count(latest: Mapping[str | None, dg.AssetMaterialization]) -> int | None:
    """Return how many series these materializations wrote at most, from their lists, otherwise from their counts."""
    lists = [listed(each) for each in latest.values()]
    if lists and all(each is not None for each in lists):
        return len({name for each in lists for spans in (each or {}).values() for name in spans})
    counts = (each.metadata[SERIES_COUNT].value for each in latest.values() if SERIES_COUNT in each.metadata)
    return max((cast("int", count) for count in counts), default=None)


def series_of_others(found: int, request: InputRequest) -> str | None:
    """Return a warning if an asset does not declare its own series and more series were read than it wrote.

    Args:
        found: How many series were read.
        request: What was asked for.
    """
    if not request.series.all or request.series_count is None or request.spans is not None:
        return None
    if found <= request.series_count:
        return None
    return (
        f"{counted(found, 'series')} {agreeing(found, 'was', 'were')} read, but no run that wrote these partitions had "
        f"more than {request.series_count:,}: the others may belong to other assets that write to "
        f"{request.data_source!r}. Declare the asset's own series, with series= of @temporis_asset."
    )


def _ensure_not_of_this_run(context: dg.InputContext, asked: Sequence[str]) -> None:
    """Refuse partitions that the run has yet to write: of an asset that depends on itself, several at once."""
    step = context.step_context if _in_a_run(context) else None
    assets = step.assets_def if step else None
    if step is None or assets is None or context.asset_key not in assets.keys or not step.has_partitions:
        return
    own = step.partition_key_range
    with dg.partition_loading_context(dynamic_partitions_store=context.instance):
        run = set(map(str, context.asset_partitions_def.get_partition_keys_in_range(own)))
    unwritten = [key for key in asked if key in run]
    if unwritten:
        raise ConfigurationError(
            f"{context.asset_key.to_user_string()} depends on itself, and this run covers {len(run):,} of its "
            f"partitions at once ({own.start} to {own.end}): when the body starts, {_shown(unwritten)} would be "
            "missing or still be as before this run. Run one partition at a time, the earliest first: "
            "backfill_policy=dg.BackfillPolicy.multi_run(1), the default of @temporis_asset for such an asset."
        )


def _in_a_run(context: dg.InputContext) -> bool:
    try:
        return context.step_context is not None
    except dg.DagsterInvariantViolationError:  # load_asset_value, and Dagster's build_input_context
        return False


def _is_data_source(context: dg.InputContext, default: str | None) -> bool:
    """Tell whether the input is a data source itself, from ``data_source_spec``: no run materializes that."""
    return is_data_source_name(default) and context.asset_key.path[-2:] == data_source_key(str(default)).path


def _latest(
    context: dg.InputContext, asked: Sequence[str], *, allow_missing: bool, dry_run: bool
) -> Mapping[str | None, dg.AssetMaterialization]:
    """Return the latest materializations of what is read; partitions without one may be left out if that is allowed."""
    accept = _anything if dry_run else stored
    if not context.has_asset_partitions:
        if latest_of_asset(context.instance, context.asset_key, _anything) is None:
            raise _not_loadable(context, ["the asset"], "was never materialized")
        found = latest_of_asset(context.instance, context.asset_key, accept)
        if found is None:
            raise _not_loadable(context, ["the asset"], "was materialized only by dry runs, which store nothing")
        return {None: found}
    ids = latest_ids(context.instance, context.asset_key, asked)
    latest = latest_of_partitions(context.instance, context.asset_key, ids, accept)
    if not allow_missing:
        if never := [key for key in asked if key not in ids]:
            raise _not_loadable(context, never, f"{agreeing(len(never), 'was', 'were')} never materialized")
        if dry := [key for key in asked if key not in latest]:
            were = agreeing(len(dry), "was", "were")
            raise _not_loadable(context, dry, f"{were} materialized only by dry runs, which store nothing")
    return {key: latest[key] for key in latest}


def _anything(_materialization: dg.AssetMaterialization) -> bool:
    return True


def _not_loadable(context: dg.InputContext, missing: Sequence[str], fault: str) -> ConfigurationError:
    advice = (
        f"Materialize {agreeing(len(missing), 'it', 'them')} first, ask for fewer partitions with a partition mapping, "
        f"or let the input leave out what is missing: metadata={{{ALLOW_MISSING!r}: True}} of its AssetIn."
        if context.has_asset_partitions
        else "Materialize it first. An external asset, which no run materializes, can only be loaded if it is defined "
        "by data_source_spec(...)."
    )
    total = f" ({len(missing):,} in all)" if context.has_asset_partitions else ""
    return ConfigurationError(
        f"{context.asset_key.to_user_string()} cannot be loaded: {_shown(missing)}{total} {fault}. {advice}"
    )


def _shown(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN_KEYS]) + (", ..." if len(keys) > SHOWN_KEYS else "")


def _data_source(
    context: dg.InputContext, latest: Mapping[str | None, dg.AssetMaterialization], default: str | None
) -> str | None:
    """Return the one data source that these materializations were written to."""
    names = {options_said(each.metadata).get("data_source", default) for each in latest.values()}
    if len(names) > 1:
        raise ConfigurationError(
            f"The partitions of {context.asset_key.to_user_string()} were written to several data sources "
            f"({', '.join(sorted(str(name or 'the default') for name in names))}). Read those of each data source in a "
            "run of its own, or materialize them again."
        )
    return cast("str | None", names.pop() if names else default)


def _spans(
    context: dg.InputContext,
    keys: Sequence[str],
    latest: Mapping[Any, dg.AssetMaterialization],
    *,
    apart: bool,
) -> Mapping[str, Spans] | None:
    """Return the series of each partition; None if time alone tells them apart or all are read into one frame."""
    parts = parts_of(context.asset_partitions_def) if context.has_asset_partitions else None
    if parts is None or not keys:
        return None
    if not apart and _all_parts(parts, keys, context.instance):
        return None
    missing = {key: 0 for key in keys if key not in latest or not lists_series(latest[key])}
    further = latest_of_partitions(context.instance, context.asset_key, missing, lists_series, MOST_SEARCHED)
    spans = spans_of_keys(parts, keys, {**latest, **further}, apart=apart)
    if unknown := [key for key in keys if spans[key] is None]:
        raise ConfigurationError(
            f"{context.asset_key.to_user_string()} cannot be loaded: it is unknown which rows belong to "
            f"{_shown(unknown)} ({len(unknown):,} in all). A data source has no partitions, and no materialization "
            "lists the series of these alone. They were written in one run together with others, under series names "
            "that do not contain the partition; or they wrote more series than a materialization lists; or they were "
            "reported by hand. Materialize them again, one partition per run "
            "(backfill_policy=dg.BackfillPolicy.multi_run(1)), with the partition's key in the names of its series; "
            "or read all partitions at once, into one frame. A template, such as "
            f"series={_template(parts)!r} of @temporis_asset, tells partitions apart by their series alone."
        )
    return cast("Mapping[str, Spans]", spans)


def _template(parts: Parts) -> str:
    return "_".join(("load", *(f"{{{dimension}}}" for dimension in parts.dimensions)))


def _of_parts(
    own: OwnSeries, partitions_def: dg.PartitionsDefinition | None, keys: Sequence[str], *, apart: bool
) -> SeriesOfParts | None:
    """Return the series of each partition; None if there are no templates, or each time has the same partitions."""
    if own.templates is None:
        return None
    found = own.templates.of_parts(partitions_def, keys)
    same_at_each_time = all(set(found.some) == some for some in found.parts.read_together(keys).values())
    return None if same_at_each_time and not apart else found


def _all_parts(parts: Parts, keys: Sequence[str], instance: dg.DagsterInstance) -> bool:
    """Tell whether every part is read at each time, so that no part's rows have to be left out."""
    existing = parts.all(instance)
    return all(existing <= some for some in parts.read_together(keys).values())
