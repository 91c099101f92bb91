"""TemporisResource: one connection to a host of data sources, for assets, checks, sensors and IO managers.

Comes in: configuration, from code or from the environment. Goes out: a Temporis connection that lives as long as the
process works on the run.
Never: opens anything before its first use (Dagster initialises a resource once for every resource that nests it).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from threading import Lock
from typing import Any, Literal, Protocol, cast

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from temporis_dagster.data_source.connection import Temporis, connect_with, noting
from temporis_dagster.data_source.options import LATE_WRITE_WINDOW_S, HttpAdvice, HttpOptions, MirrorOptions
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.env_vars import plain_value, said_by_env_vars
from temporis_dagster.errors import ConfigurationError


class _HttpOptions(HttpOptions):
    """``HttpOptions`` of a resource, whose advice names its fields."""

    ADVICE = HttpAdvice(
        token="set token of the TemporisResource with dg.EnvVar, or the environment variable TEMPORIS_TOKEN",  # noqa: S106
        ca_bundle="set verify of the TemporisResource to the file of its CA bundle",
        allow_http="set allow_http of the TemporisResource if you must",
        slow_line="set a larger timeout_s or a smaller batch_rows of the TemporisResource",
    )


_CONNECTING = Lock()  # one for all resources: connecting does no I/O, so nobody waits


class TemporisResource(dg.ConfigurableResource["TemporisResource"]):
    """A connection to a host of data sources. Connects at its first use, closes when the run's process is done.

    Safe to share between threads. Outside a run, as in a notebook, it works as it is, too:
    ``TemporisResource(url=dg.EnvVar("TEMPORIS_URL")).data_source("store_metrics").read()``.

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

    model_config = ConfigDict(hide_input_in_errors=True)

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
    batch_rows: int = Field(default=HttpOptions.batch_rows, description="HTTP: at most so many observations a request.")
    max_body_bytes: int = Field(
        default=HttpOptions.max_body_bytes, description="HTTP: at most so many bytes a request."
    )
    max_in_flight: int = Field(
        default=HttpOptions.max_in_flight, description="HTTP: at most so many requests at once, for each run."
    )
    requests_per_second: float | None = Field(
        default=None,
        description="HTTP: the fastest pace of one process, in requests per second; no limit by default. With "
        "Dagster's default executor each step is a process of its own, so a pool has to bound how many run at once.",
    )
    timeout_s: float = Field(
        default=HttpOptions.timeout_s,
        description="HTTP: how many seconds an attempt may take, on top of what its body needs on a slow line.",
    )
    give_up_after_s: float = Field(
        default=HttpOptions.give_up_after_s,
        description="HTTP: for how many seconds to go on without any acknowledgement, so that a healthy load of any "
        "size is never cut. A service that asks for a longer wait is tried again by Dagster when that is over.",
    )
    allow_http: bool = Field(
        default=False, description="HTTP: whether the token may travel unencrypted to another machine."
    )
    verify: str | None = Field(
        default=None,
        description="HTTP: the path of a file of CA certificates (PEM) to trust. Without it, the usual authorities. "
        "Certificates are always verified.",
    )
    create_missing: bool = Field(
        default=False, description="SQL: whether the first write to a data source that is not there creates it."
    )
    account: str = Field(default="default", description="SQL: whose data sources; accounts never see each other's.")
    mirror: str | None = Field(
        default=None,
        description="HTTP: a file that keeps every row before it is sent, such as 'sqlite:///mirror.db', on a disk "
        "that outlives the run. With it, what was written can be loaded back, and nothing is lost in an outage.",
    )
    skip_unchanged: bool = Field(
        default=MirrorOptions.skip_unchanged,
        description="With a mirror: send only what the service does not surely have.",
    )
    on_unavailable: Literal["raise", "queue"] = Field(
        default="raise",
        description="With a mirror, when rows cannot be delivered now: 'raise' fails the step (the rows are kept all "
        "the same), 'queue' goes on, and a later write or flush delivers them.",
    )
    late_write_window_s: float = Field(
        default=LATE_WRITE_WINDOW_S,
        description="With a mirror: for how many seconds after an attempt without an answer the service may still "
        "apply it.",
    )
    max_pending_rows: int = Field(
        default=MirrorOptions.max_pending_rows,
        description="With a mirror: how many rows may wait in it; a write beyond that is refused.",
    )
    dry_run: bool = Field(
        default=False,
        description="Check every frame and write nothing, as in branch deployments. Archive checks still ask.",
    )

    _connection: Temporis | None = PrivateAttr(default=None)
    _run_id: str | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _known_options(cls, said: Mapping[str, Any]) -> Mapping[str, Any]:
        ensure_known_options(cls.__name__, said, cls.model_fields)
        return said

    @property
    def connection(self) -> Temporis:
        """The connection, made at its first use and shared by all threads of this process.

        Raises:
            ConfigurationError: There is no URL, or it cannot be used.
        """
        with _CONNECTING:
            if self._connection is None:
                connection = connect_with(
                    self._remote_options(),
                    self._said("url"),
                    self._said("token"),
                    create_missing=self._said("create_missing"),
                    account=self._said("account"),
                    mirror=self._said("mirror"),
                    mirroring=self._mirror_options(),
                    dry_run=self.dry_run,
                )
                note = said_by_env_vars({option: getattr(self, option) for option in type(self).model_fields})
                self._connection = noting(connection, note) if note else connection
            return self._connection

    def _said(self, option: str) -> Any:
        return plain_value(type(self).__name__, option, getattr(self, option))

    def _remote_options(self) -> HttpOptions:
        return _HttpOptions(
            batch_rows=self._said("batch_rows"),
            max_body_bytes=self._said("max_body_bytes"),
            max_in_flight=self._said("max_in_flight"),
            requests_per_second=self._said("requests_per_second"),
            timeout_s=self._said("timeout_s"),
            give_up_after_s=self._said("give_up_after_s"),
            allow_http=self._said("allow_http"),
            verify=self._said("verify") or True,
            caller=f"dagster-run/{self._run_id}" if self._run_id else "",
        )

    def _mirror_options(self) -> MirrorOptions:
        return MirrorOptions(
            skip_unchanged=self._said("skip_unchanged"),
            on_unavailable=self._said("on_unavailable"),
            late_write_window_s=self._said("late_write_window_s"),
            max_pending_rows=self._said("max_pending_rows"),
        )

    @property
    def queues(self) -> bool:
        """Whether a mirror keeps what cannot be delivered now, and the run goes on."""
        return self.mirror is not None and self.on_unavailable == "queue"

    @contextmanager
    def asking(self, *, give_up_after_s: float) -> Iterator[Temporis]:
        """A connection of its own for questions to the service: without the mirror, and not patient.

        Args:
            give_up_after_s: For how many seconds to ask, and how long one attempt may take.

        Raises:
            ConfigurationError: There is no URL, or it cannot be used.
        """
        options = self._remote_options()
        brief = replace(
            options,
            give_up_after_s=min(options.give_up_after_s, give_up_after_s),
            timeout_s=min(options.timeout_s, give_up_after_s),
        )
        with connect_with(brief, self._said("url"), self._said("token"), dry_run=self.dry_run) as connection:
            yield connection

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

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember the run, which the service then sees in the User-Agent of every request."""
        self._run_id = context.run.run_id if context.run else None

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  Dagster's signature
        """Close the connection."""
        self.close()


class HasResources(Protocol):
    """What every context of Dagster has: the resources that its definition requires, as attributes."""

    @property
    def resources(self) -> Any:
        """The resources, by their keys."""


def temporis_of(context: HasResources, resource_key: str) -> TemporisResource:
    """Return the ``TemporisResource`` that a context holds under this key.

    Args:
        context: Of a check, a step, a sensor or a schedule that requires the key.
        resource_key: The key of the ``TemporisResource``.
    """
    return cast("TemporisResource", getattr(context.resources, resource_key))


def ensure_known_options(what: str, said: Iterable[str], known: Iterable[str]) -> None:
    """Refuse what Dagster would leave out without a word: a misspelt ``url`` would be the cloud.

    Args:
        what: What is configured.
        said: The names of its options, as they were given.
        known: The names that it has.

    Raises:
        ConfigurationError: An option is unknown; the message has the nearest one.

    Examples:
        >>> ensure_known_options("TemporisResource", ["uri"], ["url", "token"])
        Traceback (most recent call last):
        temporis_dagster.errors.ConfigurationError: TemporisResource has no option 'uri'. Did you mean 'url'?
    """
    names = list(known)
    for option in said:
        if option not in names:
            near = get_close_matches(option, names, n=1)
            advice = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(names)}."
            raise ConfigurationError(f"{what} has no option {option!r}. {advice}")
