"""Components for tests: from the YAML that a user writes to definitions with resources, and runs of them.

Comes in: attributes, as in YAML. Goes out: a project in one object: definitions, runs, what was stored.
"""

import dagster as dg
from dagster.components.testing.utils import component_defs

from temporis_dagster import TemporisIOManager, TemporisResource
from temporis_dagster.components import TemporisIngestComponent
from tests.support.dagster_harness import key_range

TYPE = "temporis_dagster.components.TemporisIngestComponent"


class Project:
    """One component, with the resources that a project would have."""

    def __init__(self, folder, attributes, *, kind=TemporisIngestComponent, **resource):
        self.attributes = {"data_source": "grid_load", "asset": {"key": "load"}, **attributes}
        self.component = kind.from_attributes_dict(attributes=self.attributes)
        self.temporis = TemporisResource(url=f"sqlite:///{folder}/temporis.db", create_missing=True, **resource)
        self.temporis.connection.create_data_source("grid_load")
        self.instance = dg.DagsterInstance.ephemeral()
        self.defs = component_defs(
            component=self.component,
            resources={"temporis": self.temporis, "temporis_io_manager": TemporisIOManager(temporis=self.temporis)},
        )

    def __enter__(self):
        self.instance.__enter__()
        return self

    def __exit__(self, *_):
        self.instance.__exit__(None, None, None)
        self.temporis.close()

    @property
    def asset(self):
        return self.defs.resolve_assets_def(self.component.get_asset_spec().key)

    def run(self, partition=None, *, to=None, **options):
        """Materialize the asset: one partition, or a range of them."""
        tags = key_range(partition, to) if to else {}
        return self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[self.component.get_asset_spec().key],
            partition_key=None if to else partition,
            tags=tags,
            instance=self.instance,
            **options,
        )

    def partitions(self):
        return self.asset.partitions_def.get_partition_keys()

    def stored(self):
        return self.temporis.data_source("grid_load").read()
