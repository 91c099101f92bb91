"""TemporisResource: one connection to a host of data sources, for assets, checks, sensors and IO managers.

Comes in: configuration, from code or from the environment. Goes out: a Temporis connection that lives as long as the
process works on the run.
Never: opens anything before its first use (Dagster initialises a resource once for every resource that nests it).
"""

from threading import Lock

import dagster as dg
from pydantic import Field, PrivateAttr

from temporis_dagster.data_source.connection import Temporis, connect
from temporis_dagster.data_source.source import DataSource

_CONNECTING = Lock()  # one for all resources: connecting does no I/O, so nobody waits


class TemporisResource(dg.ConfigurableResource["TemporisResource"]):
    """A connection to a host of data sources. Connects at its first use, closes when the run's process is done.

    Safe to share between threads. Outside a run it works as it is, as long as its values are plain ones rather than
    ``dg.EnvVar``: ``TemporisResource(url="sqlite:///temporis.db").data_source("store_metrics").read()``.

    Examples:
        .. code-block:: python

            import dagster as dg
            import pandas as pd

            from temporis_dagster import TemporisIOManager, TemporisResource

            temporis = TemporisResource(url="sqlite:///temporis.db", create_missing=True)


            @dg.asset
            def orders(temporis: TemporisResource) -> None:
                temporis.ensure_writable("store_metrics")
                hours = pd.date_range("2024-06-20", periods=24, freq="h", tz="UTC")
                temporis.data_source("store_metrics").upsert(pd.DataFrame({"orders": range(24)}, index=hours))


            defs = dg.Definitions(assets=[orders], resources={"temporis": temporis})
    """

    url: str | None = Field(
        default=None,
        description="Where the data sources are, such as 'sqlite:///temporis.db'. Without it, TEMPORIS_URL says.",
        repr=False,
        json_schema_extra={"dagster__is_secret": True},  # a URL may hold a password
    )
    token: str | None = Field(
        default=None,
        description="The access token of an HTTP service, as dg.EnvVar. Without it, TEMPORIS_TOKEN says.",
        repr=False,
        json_schema_extra={"dagster__is_secret": True},
    )
    create_missing: bool = Field(
        default=False, description="Whether the first write to a data source that is not there creates it."
    )
    account: str = Field(default="default", description="Whose data sources; accounts never see each other's.")
    dry_run: bool = Field(default=False, description="Check everything and write nothing, as in branch deployments.")

    _connection: Temporis | None = PrivateAttr(default=None)

    @property
    def connection(self) -> Temporis:
        """The connection, made at its first use and shared by all threads of this process.

        Raises:
            ConfigurationError: There is no URL, or it cannot be used.
        """
        with _CONNECTING:
            if self._connection is None:
                self._connection = connect(
                    self.url,
                    self.token,
                    create_missing=self.create_missing,
                    account=self.account,
                    dry_run=self.dry_run,
                )
            return self._connection

    def data_source(self, name: str) -> DataSource:
        """The data source of that name. Whether it exists shows at its first use.

        Args:
            name: A lowercase letter, then lowercase letters, digits and underscores.

        Raises:
            ConfigurationError: No data source can have this name, or there is nothing to connect to.

        Examples:
            .. code-block:: python

                @dg.asset
                def yesterday(temporis: TemporisResource) -> pd.DataFrame:
                    return temporis.data_source("store_metrics").read(start=1_718_841_600, end=1_718_928_000)
        """
        return self.connection.data_source(name)

    def ensure_writable(self, name: str) -> None:
        """Return if the data source takes observations: the pre-flight of an expensive body. Writes nothing.

        Args:
            name: The name of the data source.

        Raises:
            DataSourceArchivedError: It is archived.
            DataSourceNotFoundError: There is no such data source.
            StoreError: The database failed.

        Examples:
            .. code-block:: python

                @temporis_asset(data_source="store_metrics")
                def forecasts(temporis: TemporisResource) -> pd.DataFrame:
                    temporis.ensure_writable("store_metrics")
                    return train_for_an_hour()
        """
        self.data_source(name).ensure_writable()

    def close(self) -> None:
        """Let go of the connection; the next use makes a new one. Dagster calls this at the end of a run."""
        with _CONNECTING:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  Dagster's signature
        """Close the connection."""
        self.close()
