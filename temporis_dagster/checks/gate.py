"""``gated_selection``: assets, and the archive checks that decide whether they run at all.

Comes in: assets that write to data sources. Goes out: a selection for a job.
Never: takes the other checks of a data source along: a red freshness check would block the run that cures it.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import dagster as dg

from temporis_dagster.asset_options import options_said
from temporis_dagster.assets import data_source_key
from temporis_dagster.checks.archive_state import archive_check_key
from temporis_dagster.errors import ConfigurationError


def gated_selection(*assets: dg.AssetsDefinition) -> dg.AssetSelection:
    """The selection of a job in which no asset runs unless the archive check of its data source passes.

    Dagster runs a check on an external asset only where it is selected, and leaves it out of plain asset selections
    and of asset backfills; the runs of a job with this selection have it, those over a range of partitions too. Only
    the archive checks are added, by their keys; of the data source's other checks none. Add assets that write
    to no data source with ``|``: nothing holds those back.

    Args:
        *assets: Assets that write to data sources and depend on them, as ``@temporis_asset`` makes them. The checks
            themselves are those of ``build_archive_state_checks``; a job whose checks nothing defines does not load,
            and the error names them.

    Raises:
        ConfigurationError: An asset names no data source, or does not depend on it: it would run all the same.

    Examples:
        .. code-block:: python

            import dagster as dg
            import pandas as pd

            from temporis_dagster import gated_selection, temporis_asset


            @temporis_asset(data_source="store_metrics")
            def forecasts() -> pd.DataFrame:
                return train_for_an_hour()


            job = dg.define_asset_job("ingest", selection=gated_selection(forecasts))
    """
    if not assets:
        raise ConfigurationError("There is nothing to gate. Pass the assets that write to data sources.")
    names = {_gate_of(spec) for asset in assets for spec in _specs_of(asset)}
    return dg.AssetSelection.assets(*assets) | ArchiveChecks(tuple(sorted(names)))


@dataclass(frozen=True)
class ArchiveChecks(dg.AssetSelection):
    """The selection of the archive checks of some data sources; one that nothing defines is named, with the cure.

    Attributes:
        data_sources: Their names.
    """

    data_sources: tuple[str, ...]

    def resolve_inner(self, asset_graph: Any, allow_missing: bool) -> AbstractSet[dg.AssetKey]:  # noqa: ARG002  Dagster's signature
        """No assets."""
        return set()

    def resolve_checks_inner(self, asset_graph: Any, allow_missing: bool) -> AbstractSet[dg.AssetCheckKey]:
        """The checks that are defined.

        Raises:
            DagsterInvalidSubsetError: One is not.
        """
        keys = {name: archive_check_key(name) for name in self.data_sources}
        missing = [name for name, key in keys.items() if key not in asset_graph.asset_check_keys]
        if missing and not allow_missing:
            raise dg.DagsterInvalidSubsetError(_undefined(missing))
        return set(keys.values()) - {keys[name] for name in missing}

    def to_serializable_asset_selection(self, asset_graph: Any) -> dg.AssetSelection:  # noqa: ARG002  Dagster's signature
        """The same as Dagster's own selection of keys."""
        return dg.AssetSelection.checks(*map(archive_check_key, self.data_sources))


def _undefined(missing: list[str]) -> str:
    return (
        f"The archive check of data source {', '.join(map(repr, missing))} gates this job, but nothing defines it. "
        f"Add asset_checks=build_archive_state_checks(data_sources={missing!r}) to the Definitions, once for the whole "
        "code location. Components define it together with the data source, unless all of them have archive_check: "
        "false or define_data_source: false. Runs that need no gate: archive_check: false in the component of this "
        "job, or a job without gated_selection."
    )


def _specs_of(asset: object) -> Iterator[dg.AssetSpec]:
    if not isinstance(asset, dg.AssetsDefinition):
        raise ConfigurationError(
            f"{asset!r} is no asset, so its dependencies cannot be seen. Pass what @temporis_asset or @dg.asset made."
        )
    yield from asset.specs


def _gate_of(spec: dg.AssetSpec) -> str:
    """The data source of an asset that depends on it."""
    shown = spec.key.to_user_string()
    name = options_said(spec.metadata).get("data_source")
    if not isinstance(name, str):
        raise ConfigurationError(
            f"Asset {shown!r} names no data source, so nothing can gate it. Give it metadata "
            "{'temporis/data_source': ...}, or add it with gated_selection(...) | dg.AssetSelection.assets(...)."
        )
    if data_source_key(name) not in {dep.asset_key for dep in spec.deps}:
        raise ConfigurationError(
            f"Asset {shown!r} writes to data source {name!r} but does not depend on it, so it would run before the "
            f"check could stop it. Use @temporis_asset, or add deps=[data_source_spec({name!r})]."
        )
    return name
