"""``gated_selection``: assets together with the archive checks that decide whether they run.

Comes in: assets that write to data sources. Goes out: a selection for a job.
Never: adds other checks of a data source: a failed freshness check would block the run that fixes it.
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
from temporis_dagster.wording import agreeing


def gated_selection(*assets: dg.AssetsDefinition) -> dg.AssetSelection:
    """Return the selection of a job in which an asset runs only if the archive check of its data source passes.

    Dagster runs a check on an external asset only if it is selected, and leaves it out of plain asset selections and of
    asset backfills. All runs of a job with this selection include it, runs over a range of partitions too. Only the
    archive checks are added, by their keys, and no other checks of the data sources. Add assets that do not write to a
    data source with ``|``; they are not gated.

    Args:
        *assets: Assets that write to data sources and depend on them, as ``@temporis_asset`` makes them. The checks
            themselves come from ``build_archive_state_checks``. If one of them is not defined, the job does not load
            and the error names the check.

    Raises:
        ConfigurationError: There is no asset, or an asset does not name its data source or does not depend on it, so
            that the check could not stop it.

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
    """The selection of the archive checks of some data sources.

    Attributes:
        data_sources: The names of the data sources.
    """

    data_sources: tuple[str, ...]

    def resolve_inner(self, asset_graph: Any, allow_missing: bool) -> AbstractSet[dg.AssetKey]:  # noqa: ARG002  Dagster's signature
        """Select no assets."""
        return set()

    def resolve_checks_inner(self, asset_graph: Any, allow_missing: bool) -> AbstractSet[dg.AssetCheckKey]:
        """Select the archive checks.

        Raises:
            DagsterInvalidSubsetError: A check is not defined; the error names it and says how to define it.
        """
        keys = {name: archive_check_key(name) for name in self.data_sources}
        missing = [name for name, key in keys.items() if key not in asset_graph.asset_check_keys]
        if missing and not allow_missing:
            raise dg.DagsterInvalidSubsetError(_undefined(missing))
        return set(keys.values()) - {keys[name] for name in missing}

    def to_serializable_asset_selection(self, asset_graph: Any) -> dg.AssetSelection:  # noqa: ARG002  Dagster's signature
        """Serialize as Dagster's own selection of check keys."""
        return dg.AssetSelection.checks(*map(archive_check_key, self.data_sources))


def _undefined(missing: list[str]) -> str:
    return (
        f"This job is gated by the archive {agreeing(len(missing), 'check', 'checks')} of data "
        f"{agreeing(len(missing), 'source', 'sources')} {', '.join(map(repr, missing))}, which the code location does "
        f"not define. Add asset_checks=build_archive_state_checks(data_sources={missing!r}) to its Definitions, once "
        "for the whole code location. Components define it together with the data source, unless all of them have "
        "archive_check: false or define_data_source: false. If the job needs no gate, set archive_check: false "
        "in its component, or build it without gated_selection."
    )


def _specs_of(asset: object) -> Iterator[dg.AssetSpec]:
    if not isinstance(asset, dg.AssetsDefinition):
        raise ConfigurationError(
            f"gated_selection takes asset definitions, whose dependencies it can see, got {asset!r}. Pass what "
            "@temporis_asset or @dg.asset returned."
        )
    yield from asset.specs


def _gate_of(spec: dg.AssetSpec) -> str:
    """Return the data source of an asset, after checking that the asset depends on it."""
    shown = spec.key.to_user_string()
    name = options_said(spec.metadata).get("data_source")
    if not isinstance(name, str):
        raise ConfigurationError(
            f"Asset {shown!r} does not name its data source, so it cannot be gated. Give it metadata "
            "{'temporis/data_source': ...}, or add it with gated_selection(...) | dg.AssetSelection.assets(...)."
        )
    if data_source_key(name) not in {dep.asset_key for dep in spec.deps}:
        raise ConfigurationError(
            f"Asset {shown!r} writes to data source {name!r} but does not depend on it, so it could run before the "
            f"check stops it. Use @temporis_asset, or add deps=[data_source_spec({name!r})]."
        )
    return name
