"""What a schedule or sensor fills: the assets of a job or selection, their partitions and data sources.

Comes in: a job, an asset selection, or assets; at a tick, the repository that they are in. Goes out: what Dagster
launches, and the partitioned assets in it, validated.
Never: asks the instance or a data source.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol, TypeAlias, cast

import dagster as dg

from temporis_dagster.asset_options import ensure_data_source, options_said
from temporis_dagster.errors import ConfigurationError


class AssetJob(Protocol):
    """What ``dagster.define_asset_job`` returns."""

    @property
    def name(self) -> str:
        """The name of the job."""

    @property
    def selection(self) -> dg.AssetSelection:
        """The assets and checks that it runs."""


Asset: TypeAlias = dg.AssetsDefinition | dg.AssetKey | str
FillTarget: TypeAlias = dg.JobDefinition | AssetJob | dg.AssetSelection | Asset | Sequence[Asset]


with warnings.catch_warnings():  # Dagster warns that policies are beta; the author of an asset sees that anyway
    warnings.simplefilter("ignore")
    ONE_BY_ONE = dg.BackfillPolicy.multi_run(1)


@dataclass(frozen=True)
class PartitionedAssets:
    """The partitioned assets that one run fills.

    Attributes:
        keys: The keys of the partitioned assets. The run may include assets without partitions.
        partitions_def: The partitions, which all of them share.
        data_sources: The data sources that their metadata names, sorted.
        one_by_one: Whether each run must have a single partition, as for an asset that depends on itself.
    """

    keys: frozenset[dg.AssetKey]
    partitions_def: dg.TimeWindowPartitionsDefinition
    data_sources: tuple[str, ...]
    one_by_one: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """A short text that identifies these assets and the format of their partitions.

        Runs carry it as a tag, so that attempts at other assets, or at partitions of another format, are not counted.
        """
        partitions = self.partitions_def
        names = sorted(key.to_user_string() for key in self.keys)
        what = repr((names, partitions.fmt, partitions.cron_schedule, partitions.timezone))
        return sha256(what.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FillSelection:
    """What a schedule or sensor launches: a job or an asset selection.

    Attributes:
        launched: What Dagster takes as ``target``.
        job_name: The name of the job, if it is one.
        definitions: The assets, if they were given as definitions.
    """

    launched: dg.JobDefinition | AssetJob | dg.AssetSelection
    job_name: str | None = None
    definitions: tuple[dg.AssetsDefinition, ...] = ()

    def default_name(self, suffix: str) -> str:
        """Return a default name for the schedule or sensor.

        Raises:
            ConfigurationError: The selection is neither a job nor a single asset.
        """
        if self.job_name is not None:
            return f"{self.job_name}_{suffix}"
        if len(self.definitions) == 1 and len(self.definitions[0].keys) == 1:
            return f"{self.definitions[0].key.to_python_identifier()}_{suffix}"
        raise ConfigurationError("Several assets or a selection have no default name. Pass name='...'.")

    def partitions_def(self) -> dg.TimeWindowPartitionsDefinition | None:
        """Return the partitions, if they are known before the whole code location is loaded.

        Raises:
            ConfigurationError: The assets cannot be filled in ranges.
        """
        if self.definitions:
            return _checked(fact for assets in self.definitions for fact in _facts_of_definition(assets)).partitions_def
        known = getattr(self.launched, "partitions_def", None)
        return known if isinstance(known, dg.TimeWindowPartitionsDefinition) else None

    def resolved(self, repository: dg.RepositoryDefinition) -> PartitionedAssets:
        """Return the partitioned assets, as defined in the repository.

        Raises:
            ConfigurationError: The assets cannot be filled in ranges.
        """
        nodes = map(repository.asset_graph.get, self._keys(repository))
        return _checked(
            _Facts(node.key, node.partitions_def, node.backfill_policy, node.metadata)
            for node in nodes
            if node.is_materializable
        )

    def _keys(self, repository: dg.RepositoryDefinition) -> Iterable[dg.AssetKey]:
        if isinstance(self.launched, dg.JobDefinition):
            return sorted(assets_of_job(repository, self.launched.name))
        selection = self.launched if isinstance(self.launched, dg.AssetSelection) else self.launched.selection
        return sorted(selection.resolve(repository.asset_graph))


def selection_of(given: FillTarget) -> FillSelection:
    """Return the selection for a ``target`` argument.

    Raises:
        ConfigurationError: The argument is not a job, a selection or assets.
    """
    if isinstance(given, dg.AssetSelection):
        return FillSelection(given)
    if isinstance(given, dg.JobDefinition) or isinstance(getattr(given, "selection", None), dg.AssetSelection):
        job = cast("AssetJob", given)
        return FillSelection(job, job_name=job.name)
    assets = [given] if isinstance(given, dg.AssetsDefinition | dg.AssetKey | str) else given
    if not isinstance(assets, Sequence) or not assets or not all(isinstance(one, Asset) for one in assets):
        raise ConfigurationError(
            f"target must be a job, an AssetSelection, an asset or a list of assets, got {given!r}."
        )
    definitions = tuple(one for one in assets if isinstance(one, dg.AssetsDefinition))
    return FillSelection(
        dg.AssetSelection.assets(*assets), definitions=definitions if len(definitions) == len(assets) else ()
    )


def named_data_sources(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Validate a ``data_sources`` argument; None means the data sources that the assets name.

    Raises:
        ConfigurationError: It is not a list, or a name breaks the rule for names of data sources.
    """
    if given is None:
        return None
    if isinstance(given, str):
        raise ConfigurationError(f"data_sources must be a list, such as [{given!r}], got the text {given!r}.")
    for name in given:
        ensure_data_source(name)
    return tuple(given)


def assets_of_job(repository: dg.RepositoryDefinition, job_name: str) -> frozenset[dg.AssetKey]:
    """Return the assets that a job materializes; none if the repository does not have the job."""
    if not repository.has_job(job_name):
        return frozenset()
    return frozenset(repository.get_job(job_name).asset_layer.executable_asset_keys)


@dataclass(frozen=True)
class _Facts:
    key: dg.AssetKey
    partitions_def: dg.PartitionsDefinition | None
    backfill_policy: dg.BackfillPolicy | None
    metadata: Mapping[str, Any]


def _facts_of_definition(assets: dg.AssetsDefinition) -> Iterable[_Facts]:
    for spec in assets.specs:
        yield _Facts(spec.key, spec.partitions_def, assets.backfill_policy, spec.metadata)


def _checked(facts: Iterable[_Facts]) -> PartitionedAssets:
    """Return the partitioned ones among the assets, after checking that one run can fill a range of them."""
    partitioned = [fact for fact in facts if fact.partitions_def is not None]
    if not partitioned:
        raise ConfigurationError("None of the assets is partitioned. Give them partitions_def=, or use dg.schedule.")
    for fact in partitioned:
        _ensure_fillable(fact, partitioned[0])
    named = (options_said(fact.metadata).get("data_source") for fact in partitioned)
    sources = {str(name) for name in named if name is not None}
    return PartitionedAssets(
        keys=frozenset(fact.key for fact in partitioned),
        partitions_def=cast("dg.TimeWindowPartitionsDefinition", partitioned[0].partitions_def),
        data_sources=tuple(sorted(sources)),
        one_by_one=any(fact.backfill_policy == ONE_BY_ONE for fact in partitioned),
    )


def _ensure_fillable(fact: _Facts, first: _Facts) -> None:
    name = fact.key.to_user_string()
    if not isinstance(fact.partitions_def, dg.TimeWindowPartitionsDefinition):
        raise ConfigurationError(
            f"The partitions of asset {name!r} are not time windows, so there are no trailing ones. Use daily, hourly "
            "or other time window partitions."
        )
    if fact.partitions_def != first.partitions_def:
        raise ConfigurationError(
            f"Assets {name!r} and {first.key.to_user_string()!r} have different partitions, so one run cannot fill a "
            "range of both. Build a separate schedule or sensor for each kind of partitions."
        )
    if fact.backfill_policy not in (dg.BackfillPolicy.single_run(), ONE_BY_ONE):
        raise ConfigurationError(
            f"Asset {name!r} cannot fill a range in one run. Give it backfill_policy=dg.BackfillPolicy.single_run(), "
            "as @temporis_asset does, or multi_run(1) for one run per partition."
        )
