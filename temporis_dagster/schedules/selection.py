"""What a schedule or sensor fills: the assets of a job or selection, their partitions and data sources.

Comes in: a job, an asset selection, or assets; at a tick, the repository they are in. Goes out: what Dagster launches,
and the partitioned assets in it, checked.
Never: asks the instance, or a data source, anything.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol, TypeAlias, cast

import dagster as dg

from temporis_dagster.asset_options import options_said
from temporis_dagster.assets import data_source_key
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


with warnings.catch_warnings():  # a policy is a beta feature of Dagster, of which the asset's author was warned
    warnings.simplefilter("ignore")
    ONE_BY_ONE = dg.BackfillPolicy.multi_run(1)


@dataclass(frozen=True)
class PartitionedAssets:
    """The partitioned assets that one run fills.

    Attributes:
        keys: Of the partitioned assets; others may go along.
        partitions_def: The partitions of all of them.
        data_sources: The data sources that their metadata name, sorted.
        one_by_one: Whether a run is to have one partition only, as for an asset that depends on itself.
    """

    keys: frozenset[dg.AssetKey]
    partitions_def: dg.TimeWindowPartitionsDefinition
    data_sources: tuple[str, ...]
    one_by_one: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """A short text that tells these assets and the format of their partitions from all others.

        A run carries it, so that attempts at other assets, or at partitions of another format, are not counted.
        """
        partitions = self.partitions_def
        names = sorted(key.to_user_string() for key in self.keys)
        what = repr((names, partitions.fmt, partitions.cron_schedule, partitions.timezone))
        return sha256(what.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FillSelection:
    """What is launched: a job or an asset selection.

    Attributes:
        launched: What Dagster takes as ``target``.
        job_name: The name of the job, if it is one.
        definitions: The assets, where they were given as definitions.
    """

    launched: dg.JobDefinition | AssetJob | dg.AssetSelection
    job_name: str | None = None
    definitions: tuple[dg.AssetsDefinition, ...] = ()

    def default_name(self, suffix: str) -> str:
        """A name for what launches it.

        Raises:
            ConfigurationError: It is neither a job nor a single asset.
        """
        if self.job_name is not None:
            return f"{self.job_name}_{suffix}"
        if len(self.definitions) == 1 and len(self.definitions[0].keys) == 1:
            return f"{self.definitions[0].key.to_python_identifier()}_{suffix}"
        raise ConfigurationError("There is no obvious name for several assets or a selection. Pass name='...'.")

    def partitions_def(self) -> dg.TimeWindowPartitionsDefinition | None:
        """The partitions, if they are known before the code location is loaded as a whole.

        Raises:
            ConfigurationError: The assets cannot be filled in ranges.
        """
        if self.definitions:
            return _checked(fact for assets in self.definitions for fact in _facts_of_definition(assets)).partitions_def
        known = getattr(self.launched, "partitions_def", None)
        return known if isinstance(known, dg.TimeWindowPartitionsDefinition) else None

    def resolved(self, repository: dg.RepositoryDefinition) -> PartitionedAssets:
        """The partitioned assets, as the repository has them.

        Raises:
            ConfigurationError: They cannot be filled in ranges.
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
    """Read what the caller calls a target.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(given, dg.AssetSelection):
        return FillSelection(given)
    if isinstance(given, dg.JobDefinition) or isinstance(getattr(given, "selection", None), dg.AssetSelection):
        job = cast("AssetJob", given)
        return FillSelection(job, job_name=job.name)
    assets = [given] if isinstance(given, dg.AssetsDefinition | dg.AssetKey | str) else given
    if not isinstance(assets, Sequence) or not assets or not all(isinstance(one, Asset) for one in assets):
        raise ConfigurationError(
            f"target={given!r} is nothing to fill. Pass a job, an AssetSelection, an asset, or a list of assets."
        )
    definitions = tuple(one for one in assets if isinstance(one, dg.AssetsDefinition))
    return FillSelection(
        dg.AssetSelection.assets(*assets), definitions=definitions if len(definitions) == len(assets) else ()
    )


def named_data_sources(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """The data sources that may be archived; None where the assets say which.

    Raises:
        ConfigurationError: They are no list, or no data source can have such a name: nothing would be asked.
    """
    if given is None:
        return None
    if isinstance(given, str):
        raise ConfigurationError(f"data_sources={given!r} is one text. Pass a list, such as [{given!r}].")
    for name in given:
        data_source_key(name)
    return tuple(given)


def assets_of_job(repository: dg.RepositoryDefinition, job_name: str) -> frozenset[dg.AssetKey]:
    """The assets that a job materializes; none if the repository does not have it."""
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
    """The partitioned ones among the assets, if one run can fill a range of them."""
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
            f"The partitions of {name!r} are not time windows, so they have no trailing range. "
            "Use daily, hourly or other time window partitions."
        )
    if fact.partitions_def != first.partitions_def:
        raise ConfigurationError(
            f"{name!r} and {first.key.to_user_string()!r} are partitioned differently, so one run cannot fill a range "
            "of both. Give each kind of partitions a schedule or sensor of its own."
        )
    if fact.backfill_policy not in (dg.BackfillPolicy.single_run(), ONE_BY_ONE):
        raise ConfigurationError(
            f"{name!r} cannot fill a range in one run. Give it backfill_policy=dg.BackfillPolicy.single_run(), as "
            "@temporis_asset does, or multi_run(1) for a run per partition."
        )
