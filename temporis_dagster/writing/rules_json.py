"""The rules of a write as JSON, for a process that has no Dagster.

Comes in: rules, or what they became in JSON. Goes out: JSON without a secret, or rules.
Never: holds a URL, a token, or a tag of the run that is not of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np

from temporis_dagster.data_source.observations.series import series_from
from temporis_dagster.data_source.plan import Limits, Within
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.key_parts import KeyParts
from temporis_dagster.metadata_keys import NAMESPACE
from temporis_dagster.series_of_parts import SeriesOfParts
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.write_options import LIMITS, AssetFrameOptions, AssetOptions, ChangeOptions, OwnSeries, of_texts
from temporis_dagster.writing.rules import WriteRules

SECONDS = "seconds"
"""The key of a length of time, for which JSON has no type."""


def rules_as_json(rules: WriteRules) -> dict[str, Any]:
    """Return the rules in a form that JSON holds.

    Raises:
        ConfigurationError: The asset has a pandera schema, which only this process has.
    """
    options = rules.options
    if options.schema is not None:
        raise ConfigurationError(
            "The asset's schema cannot be checked in another process. Validate the frame there with pandera, and leave "
            "schema out of the asset; contracts (series=[Series(...)]) are checked there."
        )
    frame = {name: _plain(getattr(options.frame, name)) for name in options.frame.__dataclass_fields__}
    limits = rules.changes.limits
    return {
        "data_source": options.data_source,
        "outside_partition": options.outside_partition,
        "plot": options.plot,
        "frame": frame,
        "own": _own_as_json(options.series),
        "limits": None if limits is None else {name: getattr(limits, name) for name in LIMITS},
        "ghost_rows": rules.changes.ghost_rows,
        "partitions": None if rules.partitions is None else list(rules.partitions),
        "windows": None if rules.windows is None else _windows_as_json(rules.windows),
        "series": None if rules.series is None else _series_as_json(rules.series),
        "within": [rules.within.spans, rules.within.names, rules.within.prefix],
        "parts": rules.parts,
        "contracts": [contract.stated() for contract in rules.contracts],
        "tags": {key: tag for key, tag in rules.tags.items() if key.lower().startswith(NAMESPACE)},
    }


def rules_from_json(given: Mapping[str, Any]) -> WriteRules:
    """Return the rules again."""
    limits, partitions = given["limits"], given["partitions"]
    spans, names, prefix = given["within"]
    return WriteRules(
        options=AssetOptions(
            data_source=given["data_source"],
            outside_partition=given["outside_partition"],
            series=_own_from_json(given["own"]),
            frame=AssetFrameOptions(**{name: _unplain(value) for name, value in given["frame"].items()}),
            plot=given["plot"],
        ),
        changes=ChangeOptions(None if limits is None else Limits(**limits), given["ghost_rows"]),
        is_asset=True,
        partitions=None if partitions is None else tuple(partitions),
        windows=None if given["windows"] is None else _windows_from_json(given["windows"]),
        series=None if given["series"] is None else _series_from_json(given["series"]),
        within=Within(
            None if spans is None else tuple(map(tuple, spans)),
            None if names is None else tuple(names),
            prefix if isinstance(prefix, str) else tuple(prefix),
        ),
        parts=None if given["parts"] is None else tuple(given["parts"]),
        contracts=tuple(map(series_from, given["contracts"])),
        tags=given["tags"],
    )


def _plain(value: object) -> object:
    return {SECONDS: value.total_seconds()} if isinstance(value, timedelta) else value


def _unplain(value: Any) -> Any:
    return timedelta(seconds=value[SECONDS]) if isinstance(value, dict) else value


def _own_as_json(series: OwnSeries) -> dict[str, Any]:
    """Return the asset's own series. Templates are texts here: ``series`` has what they stand for."""
    if series.templates is not None:
        return {"names" if series.templates.exact else "prefixes": list(series.templates.texts)}
    return {"prefixes": list(series.prefixes)} if series.names is None else {"names": list(series.names)}


def _own_from_json(given: Mapping[str, Any]) -> OwnSeries:
    return of_texts(tuple(given.get("names", given.get("prefixes", ()))), exact="names" in given)


def _windows_as_json(windows: PartitionWindows) -> dict[str, Any]:
    """Return windows as lengths and gaps, which are all alike where the windows are, so that they become small."""
    between = windows.starts[1:] - windows.ends[:-1]
    return {
        "keys": list(windows.keys),
        "numbers": np.diff(windows.numbers, prepend=0).tolist(),
        "first": int(windows.starts[0]) if len(windows.starts) else 0,
        "lengths": (windows.ends - windows.starts).tolist(),
        "between": between.tolist(),
    }


def _windows_from_json(given: Mapping[str, Any]) -> PartitionWindows:
    lengths = np.array(given["lengths"], dtype=np.int64)
    steps = lengths[:-1] + np.array(given["between"], dtype=np.int64)
    starts = given["first"] + np.concatenate(([0], np.cumsum(steps))).astype(np.int64)[: len(lengths)]
    numbers = np.cumsum(np.array(given["numbers"], dtype=np.int64))
    return PartitionWindows(tuple(given["keys"]), numbers, starts, starts + lengths)


def _series_as_json(series: SeriesOfParts) -> dict[str, Any]:
    parts = series.parts
    return {
        "templates": list(series.templates),
        "exact": series.exact,
        "parts": [parts.timed, parts.places, parts.dimensions],
        "some": list(series.some),
    }


def _series_from_json(given: Mapping[str, Any]) -> SeriesOfParts:
    timed, places, dimensions = given["parts"]
    parts = KeyParts(timed, None if places is None else tuple(places), tuple(dimensions))
    return SeriesOfParts(given["templates"], given["exact"], parts, given["some"])
