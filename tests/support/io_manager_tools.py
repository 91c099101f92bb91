"""Runs of assets through TemporisIOManager, for the tests of its parts.

Comes in: assets, a store or a resource. Goes out: results of real runs in this process, and their log and metadata.
Never: asserts anything.
"""

import dagster as dg
import pandas as pd

from temporis_dagster import TemporisIOManager, TemporisResource, data_source_spec
from tests.support.dagster_harness import failure_of

SOURCE = "store_metrics"
DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-07-01")


class Project:
    """Assets that share an instance and a store, or another resource.

    Args:
        temporis: The resource, or the URL of a store, whose missing data sources are then created.
        instance: The instance that records the runs.
    """

    def __init__(self, temporis: TemporisResource | str, instance: dg.DagsterInstance) -> None:
        self.temporis = TemporisResource(url=temporis, create_missing=True) if isinstance(temporis, str) else temporis
        self.instance = instance

    def run(self, *assets, selection=None, options=None, **arguments) -> dg.ExecuteInProcessResult:
        """Run the assets, or the selected ones; a failure is a result."""
        io_manager = TemporisIOManager(temporis=self.temporis, **(options or {}))
        return dg.materialize(
            [data_source_spec(SOURCE), *assets],
            selection=list(assets) if selection is None else selection,
            resources={"temporis_io_manager": io_manager, "temporis": self.temporis},
            instance=self.instance,
            raise_on_error=False,
            **arguments,
        )

    def read(self, data_source: str = SOURCE) -> pd.DataFrame:
        """Return what is stored."""
        return self.temporis.data_source(data_source).read()

    def logged(self, result: dg.ExecuteInProcessResult) -> list[str]:
        """Return the messages in the run's event log that are from this package or from bodies."""
        return [entry.user_message for entry in self.instance.all_logs(result.run_id) if not entry.is_dagster_event]

    def observations(self, data_source: str = SOURCE) -> list[dict[str, object]]:
        """Return the metadata of every observation on the data source's page, oldest first."""
        key = dg.AssetKey(["temporis", data_source])
        records = self.instance.fetch_observations(key, limit=1_000, ascending=True).records
        return [{name: each.value for name, each in record.asset_observation.metadata.items()} for record in records]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return the message of the one failed step."""
    return failure_of(result).event_specific_data.user_failure_data.description
