"""TemporisResource: one connection to the data sources, for assets, checks, sensors and IO managers.

Comes in: configuration, from code or from the environment. Goes out: a Temporis connection that lives for as long as
the process works on the run.
Never: opens anything before its first use (Dagster initialises a resource once for every resource that nests it).
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from threading import Lock
from typing import Any, Literal, Protocol, cast
from weakref import WeakKeyDictionary

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from temporis_dagster.change_options import Share
from temporis_dagster.dagster_failures import failures_for_dagster
from temporis_dagster.data_source.connection import Temporis, connect_with, noting
from temporis_dagster.data_source.observations import (
    AllowFuture,
    Decimals,
    Layout,
    OnConflict,
    OnInvalid,
    Series,
    SubSecond,
    Unit,
)
from temporis_dagster.data_source.options import (
    LATE_WRITE_WINDOW_S,
    HttpAdvice,
    HttpOptions,
    MirrorAdvice,
    MirrorOptions,
)
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.env_vars import env_var_note, plain_value
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.pipes.launching import extras_of, outputs_of, said_by, watched
from temporis_dagster.pipes.reported import PipesWrites, ensure_reported, show_messages, with_outputs
from temporis_dagster.write_options import GhostRows, OutsidePartition
from temporis_dagster.writing.dagster_output import AssetOutput, StepContext
from temporis_dagster.writing.materialized import asset_output, options_of
from temporis_dagster.writing.own_versions import OwnVersions
from temporis_dagster.writing.shown_report import ensure_report_of, show_report
from temporis_dagster.writing.steps import write


class _HttpOptions(HttpOptions):
    """``HttpOptions`` whose advice names the fields of a ``TemporisResource``."""

    ADVICE = HttpAdvice(
        token="set token of the TemporisResource with dg.EnvVar, or the environment variable TEMPORIS_TOKEN",  # noqa: S106
        ca_bundle="set verify of the TemporisResource to the file of its CA bundle",
        allow_http="set allow_http of the TemporisResource if you must",
        slow_line="set a larger timeout_s or a smaller batch_rows of the TemporisResource",
        connect=(
            "Set url of the TemporisResource, or the environment variable TEMPORIS_URL, to 'sqlite:///temporis.db' for"
            " a file on this machine or to 'postgresql+psycopg://host/database' for PostgreSQL; for the Temporis cloud,"
            " set token, or the environment variable TEMPORIS_TOKEN."
        ),
    )


class _MirrorOptions(MirrorOptions):
    """``MirrorOptions`` whose advice names the fields of a ``TemporisResource``."""

    ADVICE = MirrorAdvice(
        mirror="set mirror of the TemporisResource to 'sqlite:///mirror.db'",
        without_mirror="Leave out mirror of the TemporisResource.",
        need_mirror="skip_unchanged and on_unavailable='queue' need a mirror",
        queue="on_unavailable='queue' of the TemporisResource",
        look="temporis mirror status",
    )


_CONNECTING = Lock()  # one for all resources: connecting does no I/O, so no thread waits long


class TemporisResource(dg.ConfigurableResource["TemporisResource"]):
    """A connection to the data sources: of a SQLite file, a PostgreSQL database, a local service or the Temporis cloud.

    It connects on first use and closes when the run's process is done. It is safe to share between threads, and works
    outside a run as well, as in a notebook:
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
        description="URL of the Temporis service, SQLite file or PostgreSQL database, e.g. 'sqlite:///temporis.db' or "
        "'postgresql+psycopg://host/database'. Pass one with a password as a dg.EnvVar. Defaults to the TEMPORIS_URL "
        "environment variable.",
        repr=False,
        json_schema_extra={"dagster__is_secret": True},  # a URL may hold a password
    )
    token: str | None = Field(
        default=None,
        description="Access token of the Temporis service. Pass it as a dg.EnvVar. Defaults to the TEMPORIS_TOKEN "
        "environment variable.",
        repr=False,
        json_schema_extra={"dagster__is_secret": True},
    )
    batch_rows: int | None = Field(
        default=HttpOptions.batch_rows,
        description="HTTP: maximum number of observations per request. By default 10,000 at first, and adapted to how "
        "fast the service answers, up to 25,000.",
    )
    max_body_bytes: int = Field(
        default=HttpOptions.max_body_bytes, description="HTTP: maximum number of bytes per request."
    )
    max_in_flight: int | None = Field(
        default=HttpOptions.max_in_flight,
        description="HTTP: maximum number of concurrent requests per process. By default 4 at first, and adapted to "
        "what the service takes, from 1 to 16.",
    )
    requests_per_second: float | None = Field(
        default=None,
        description="HTTP: maximum number of requests per second and process. Unlimited by default. Dagster's default "
        "executor runs each step in a process of its own, so use a pool to limit how many run at once.",
    )
    timeout_s: float = Field(
        default=HttpOptions.timeout_s,
        description="HTTP: seconds that an attempt may take, in addition to the time its body needs on a slow line.",
    )
    give_up_after_s: float = Field(
        default=HttpOptions.give_up_after_s,
        description="HTTP and PostgreSQL: seconds to keep trying without any acknowledgement. A load that is making "
        "progress is never cut short, whatever its size. If a service asks for a longer wait, Dagster re-runs the step "
        "after it.",
    )
    allow_http: bool = Field(
        default=False, description="HTTP: whether the token may travel unencrypted to another machine."
    )
    verify: str | None = Field(
        default=None,
        description="HTTP: path of a file of CA certificates (PEM) to trust. Defaults to the usual authorities. "
        "Certificates are always verified.",
    )
    create_missing: bool = Field(
        default=False, description="SQL: whether the first write to a missing data source creates it."
    )
    account: str = Field(
        default="default", description="SQL: account that owns the data sources. Accounts never see each other's."
    )
    mirror: str | None = Field(
        default=None,
        description="HTTP: URL of a SQLite file, e.g. 'sqlite:///mirror.db' on a disk that outlives the run, or of a "
        "PostgreSQL database that all machines share, e.g. 'postgresql+psycopg://host/database', that keeps every row "
        "before it is sent. With it, what was written can be loaded back, and an outage loses nothing. Pass a URL with "
        "a password as a dg.EnvVar.",
        repr=False,
        json_schema_extra={"dagster__is_secret": True},  # a URL may hold a password
    )
    skip_unchanged: bool = Field(
        default=MirrorOptions.skip_unchanged,
        description="Mirror: whether to send only the observations that the service is not known to have.",
    )
    on_unavailable: Literal["raise", "queue"] = Field(
        default="raise",
        description="Mirror: what happens when rows cannot be delivered now. 'raise' fails the step (the mirror keeps "
        "the rows all the same); 'queue' goes on, and a later write or flush delivers them.",
    )
    late_write_window_s: float = Field(
        default=LATE_WRITE_WINDOW_S,
        description="Mirror: seconds after an unanswered attempt in which the service may still apply it.",
    )
    max_pending_rows: int = Field(
        default=MirrorOptions.max_pending_rows,
        description="Mirror: maximum number of rows that may wait in it. A write beyond that is refused.",
    )
    dry_run: bool = Field(
        default=False,
        description="Whether to check every frame but write nothing, as in branch deployments. Archive checks still "
        "ask the service.",
    )

    _connection: Temporis | None = PrivateAttr(default=None)
    _run_id: str | None = PrivateAttr(default=None)
    _own_versions: list[OwnVersions] = PrivateAttr(default_factory=list)
    _written: MutableMapping[object, set[dg.AssetKey]] = PrivateAttr(default_factory=WeakKeyDictionary)

    @model_validator(mode="before")
    @classmethod
    def _known_options(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        ensure_known_options(cls.__name__, given, cls.model_fields)
        return given

    @property
    def connection(self) -> Temporis:
        """The connection, made on first use and shared by all threads of this process.

        Raises:
            ConfigurationError: No URL was given, or it cannot be used.
        """
        with _CONNECTING:
            if self._connection is None:
                connection = connect_with(
                    self._remote_options(),
                    self._plain("url"),
                    self._plain("token"),
                    create_missing=self._plain("create_missing"),
                    account=self._plain("account"),
                    mirror=self._plain("mirror"),
                    mirroring=self._mirror_options(),
                    dry_run=self.dry_run,
                )
                note = env_var_note({option: getattr(self, option) for option in type(self).model_fields})
                self._connection = noting(connection, note) if note else connection
            return self._connection

    def _plain(self, option: str) -> Any:
        return plain_value(type(self).__name__, option, getattr(self, option))

    def _remote_options(self) -> HttpOptions:
        return _HttpOptions(
            batch_rows=self._plain("batch_rows"),
            max_body_bytes=self._plain("max_body_bytes"),
            max_in_flight=self._plain("max_in_flight"),
            requests_per_second=self._plain("requests_per_second"),
            timeout_s=self._plain("timeout_s"),
            give_up_after_s=self._plain("give_up_after_s"),
            allow_http=self._plain("allow_http"),
            verify=self._plain("verify") or True,
            caller=f"dagster-run/{self._run_id}" if self._run_id else "",
        )

    def _mirror_options(self) -> MirrorOptions:
        return _MirrorOptions(
            skip_unchanged=self._plain("skip_unchanged"),
            on_unavailable=self._plain("on_unavailable"),
            late_write_window_s=self._plain("late_write_window_s"),
            max_pending_rows=self._plain("max_pending_rows"),
        )

    @property
    def queues(self) -> bool:
        """Whether a mirror keeps what cannot be delivered now, so that the run goes on."""
        return self.mirror is not None and self.on_unavailable == "queue"

    @contextmanager
    def asking(self, *, give_up_after_s: float, mirror: bool = False) -> Iterator[Temporis]:
        """Open a separate, impatient connection without the mirror, to ask the service about its data sources.

        Args:
            give_up_after_s: Maximum number of seconds to keep asking, and for one attempt to take.
            mirror: Whether to connect with the mirror after all, to ask that.

        Raises:
            ConfigurationError: No URL was given, or it cannot be used.
        """
        options = self._remote_options()
        brief = replace(
            options,
            give_up_after_s=min(options.give_up_after_s, give_up_after_s),
            timeout_s=min(options.timeout_s, give_up_after_s),
        )
        mirrored = {"mirror": self._plain("mirror"), "mirroring": self._mirror_options()} if mirror else {}
        with connect_with(
            brief, self._plain("url"), self._plain("token"), dry_run=self.dry_run, **mirrored
        ) as connection:
            yield connection

    def data_source(self, name: str) -> DataSource:
        """Return the data source with this name. Whether it exists is only known on first use.

        Args:
            name: A lowercase letter, then lowercase letters, digits and underscores; at most 48 characters.

        Raises:
            ConfigurationError: The name cannot be that of a data source, or no URL was given.

        Examples:
            .. code-block:: python

                @dg.asset
                def yesterday(temporis: TemporisResource) -> pd.DataFrame:
                    return temporis.data_source("store_metrics").read(start=1_718_841_600, end=1_718_928_000)
        """
        return self.connection.data_source(name)

    def ensure_writable(self, name: str) -> None:
        """Check that the data source accepts observations, before an expensive body runs. Writes nothing.

        Args:
            name: The name of the data source.

        Raises:
            DataSourceArchivedError: The data source is archived.
            DataSourceNotFoundError: The data source does not exist.
            StoreError: The database failed.

        Examples:
            .. code-block:: python

                @temporis_asset(data_source="store_metrics")
                def forecasts(temporis: TemporisResource) -> pd.DataFrame:
                    temporis.ensure_writable("store_metrics")
                    return train_for_an_hour()
        """
        self.data_source(name).ensure_writable()

    def materialize(  # noqa: PLR0913  the options of an asset show in an editor
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        frame: Any,
        *,
        data_source: str | None = None,
        asset_key: dg.AssetKey | str | Sequence[str] | None = None,
        series: Sequence[Series] = (),
        outside_partition: OutsidePartition | None = None,
        layout: Layout | None = None,
        timestamp: str | None = None,
        name: str | None = None,
        value: str | None = None,
        timezone: str | None = None,
        ambiguous: bool | str | None = None,
        nonexistent: str | None = None,
        sub_second: SubSecond | None = None,
        on_invalid: OnInvalid | None = None,
        unit: Unit | None = None,
        allow_future: AllowFuture = None,
        on_conflict: OnConflict | None = None,
        decimals: Decimals | None = None,
        plot: bool | None = None,
        max_changed: Share | None = None,
        max_shift: float | None = None,
        max_ghosts: Share | None = None,
        ghost_rows: GhostRows | None = None,
    ) -> dg.MaterializeResult[Any]:
        """Upsert a frame from the body of an asset, which returns or yields the result.

        This does what ``TemporisIOManager`` does with the frame that an asset returns: the same checks, windows,
        retries, failures and metadata, and the same partitions are recorded if it fails partway. It is for bodies that
        write several assets, one after the other, and for streams that are larger than memory. Assets that depend on
        this one can load it with a ``TemporisIOManager``.

        The asset's ``temporis/...`` metadata count as with the IO manager; the options given here override them.

        Args:
            context: The context of the body.
            frame: A DataFrame or a stream, as in ``DataSource.upsert``. A stream is checked completely before anything
                is sent. Or an ``UpsertReport``, for what something else has already upserted, such as Spark: then only
                what it tells is shown.
            data_source: The name of the data source. Defaults to the asset's ``temporis/data_source``.
            asset_key: Which asset, if the body has several.
            series: Contracts of series, in addition to those of the asset: rows that break one are invalid. Other
                series may be in the frame as well.
            outside_partition: What happens to rows outside the run's partitions: ``"raise"``, ``"drop"`` or
                ``"allow"``. Defaults to the asset's, or to ``"raise"``; the options down to ``ghost_rows`` are those of
                ``temporis_asset``, and default to the asset's likewise.
            layout: ``"long"``, ``"wide"`` or ``"auto"``.
            timestamp: The column of timestamps.
            name: The column of series names.
            value: The column of values.
            timezone: The time zone of naive timestamps and dates.
            ambiguous: How to read a local time that occurs twice.
            nonexistent: How to read a local time that the clock skipped.
            sub_second: ``"floor"`` cuts fractions of a second off.
            on_invalid: ``"drop"`` stores the other rows and counts the invalid ones.
            unit: What numeric timestamps count since 1970.
            allow_future: How far ahead of the clock a timestamp may lie.
            on_conflict: ``"raise"`` refuses rows with the same (timestamp, name) but different values.
            decimals: ``"exact"`` refuses decimal numbers that float64 does not hold exactly.
            plot: Whether the materialization shows a small plot of what was written.
            max_changed: Limit on the stored rows that the run may change.
            max_shift: Limit on how far the run may move the mean of a series.
            max_ghosts: Limit on the stored rows that may be missing from the frame.
            ghost_rows: ``"delete"`` deletes stored rows that are missing from the frame.

        Raises:
            Failure: A retry cannot fix it: invalid rows, rows outside the partitions, an archived or missing data
                source, a wrong option. Never retried, whatever the asset's retry policy is.
            RetryRequested: The service asks for a longer wait than ``give_up_after_s``; the step runs again after it.
            UnavailableError: The service could not be reached; the asset's retry policy decides.
            StoreError: The database failed in a way that may pass; the asset's retry policy decides.

        Examples:
            .. code-block:: python

                @dg.multi_asset(specs=[dg.AssetSpec("orders"), dg.AssetSpec("visits")])
                def shop(context: dg.AssetExecutionContext, temporis: TemporisResource):
                    for name, frame in fetch_everything().items():
                        yield temporis.materialize(context, frame, data_source="shop", asset_key=name)
        """
        options = options_of(locals())
        with failures_for_dagster(self.give_up_after_s):
            if frame is None:
                raise ConfigurationError("frame must be a DataFrame or a stream, got None. An empty DataFrame is fine.")
            output = asset_output("TemporisResource.materialize", context, asset_key, options, tuple(series))
            self._ensure_first(context, output)
            source = self.data_source(output.rules.options.data_source)
            if isinstance(frame, UpsertReport):
                ensure_report_of(frame, source.name)
                show_report(output, frame, source)
            else:
                write(output, source, frame, dry_run=self.dry_run)
            return self._finished(context, output)

    def run_pipes(
        self,
        client: Any,
        *,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        data_source: str | None = None,
        extras: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> PipesWrites:
        """Run an external process with Dagster Pipes that writes the asset with ``temporis_dagster.pipes``.

        This is ``client.run`` with the extras of ``pipes_extras``. What the process reports is shown as the IO manager
        would show it, partition by partition. If its upsert fails, the partitions that are stored completely are
        recorded, and the step fails as with the IO manager.

        Args:
            client: A client of Dagster Pipes, such as ``dg.PipesSubprocessClient()``.
            context: The context of the asset's body.
            data_source: The name of the data source, for assets whose metadata do not name their own.
            extras: Further extras for the process.
            **arguments: Further arguments of ``client.run``, such as ``command``.

        Returns:
            The results, for the body to return or yield: ``get_materialize_result()`` for one asset,
            ``get_results()`` for several.

        Raises:
            Failure: The upsert failed. Never retried if a retry cannot fix it, whatever the asset's retry policy is.
            RetryRequested: The service asks for a longer wait than ``give_up_after_s``; the step runs again after it.
            DagsterPipesExecutionError: The process failed without saying anything about an upsert, or was killed.

        Examples:
            .. code-block:: python

                @dg.asset(metadata={"temporis/data_source": "store_metrics"})
                def orders(
                    context: dg.AssetExecutionContext, client: dg.PipesSubprocessClient, temporis: TemporisResource
                ):
                    command = [sys.executable, "extract_orders.py"]
                    return temporis.run_pipes(client, context=context, command=command).get_materialize_result()
        """
        with failures_for_dagster(self.give_up_after_s):
            outputs = self._pipes_outputs("TemporisResource.run_pipes", context, data_source)
            ours = extras_of(outputs)
            like, handlers = watched(client)
            try:
                invocation = like.run(context=context, extras={**(extras or {}), **ours}, **arguments)
            except dg.DagsterExecutionInterruptedError:
                raise
            except Exception:
                show_messages(outputs, said_by(handlers), self.give_up_after_s)  # fails in its own way, if it may
                raise
            found = invocation.get_results(implicit_materializations=False)
            self._show_writes(outputs, invocation.get_custom_messages(), found)
            return PipesWrites(invocation, outputs)

    def pipes_extras(
        self, context: dg.AssetExecutionContext | dg.OpExecutionContext, *, data_source: str | None = None
    ) -> dict[str, Any]:
        """Return the extras that ``temporis_dagster.pipes`` needs in an external process: partitions, windows, options.

        They are for a session that the body opens itself, with ``dg.open_pipes_session``; ``run_pipes`` passes them by
        itself. They hold neither URL nor token.

        Args:
            context: The context of the asset's body.
            data_source: The name of the data source, for assets whose metadata do not name their own.

        Raises:
            Failure: The data source is not known, or an option does not take its value. Never retried.
        """
        with failures_for_dagster(self.give_up_after_s):
            return extras_of(self._pipes_outputs("TemporisResource.pipes_extras", context, data_source))

    def pipes_results(
        self,
        session: dg.PipesSession,
        *,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        data_source: str | None = None,
    ) -> list[Any]:
        """Return the results of a session of Dagster Pipes whose process used ``temporis_dagster.pipes``.

        For a session that the body opened itself. Call it after the session, also if the process failed: then it
        records what is stored, and raises.

        Args:
            session: The session, whose process has ended.
            context: The context of the asset's body.
            data_source: As for ``pipes_extras``.

        Raises:
            Failure: The upsert of the process failed.
            RetryRequested: The service asks for a longer wait than ``give_up_after_s``.
        """
        with failures_for_dagster(self.give_up_after_s):
            outputs = self._pipes_outputs("TemporisResource.pipes_results", context, data_source)
            found = session.get_results(implicit_materializations=False)
            self._show_writes(outputs, session.get_custom_messages(), found)
            return with_outputs(session.get_results(), outputs)

    def _pipes_outputs(self, what: str, context: object, data_source: str | None) -> dict[str, AssetOutput]:
        return outputs_of(what, context, {"data_source": data_source})

    def _show_writes(self, outputs: Mapping[str, AssetOutput], payloads: Sequence[Any], results: Sequence[Any]) -> None:
        written = show_messages(outputs, payloads, self.give_up_after_s)
        ensure_reported(outputs, written, results)
        self._own_versions += [output.own_versions for output in outputs.values() if output.own_versions is not None]

    def _ensure_first(self, context: StepContext, output: AssetOutput) -> None:
        """Refuse a second write of an asset in one step, whose metadata would hide those of the first."""
        if output.asset in self._written.get(context, ()):
            raise ConfigurationError(
                f"{output.asset.to_user_string()!r} has already been written in this step. Pass all its rows at once: "
                "a stream, such as a generator of frames, may be larger than memory."
            )

    def _finished(self, context: StepContext, output: AssetOutput) -> dg.MaterializeResult[Any]:
        self._written.setdefault(context, set()).add(output.asset)
        if output.own_versions is not None:
            self._own_versions.append(output.own_versions)
        return output.result()

    def close(self) -> None:
        """Close the connection; the next use opens a new one. Dagster calls this at the end of a run."""
        with _CONNECTING:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember the run, whose id every request then carries in its User-Agent."""
        self._run_id = context.run.run_id if context.run else None

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  Dagster's signature
        """Report the data versions of partitions that are materialized by now, and close the connection."""
        while self._own_versions:
            self._own_versions.pop(0).report()
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


def ensure_known_options(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that Dagster would silently ignore: with a misspelt ``url``, rows would go to the cloud.

    Args:
        what: The class that is configured.
        given: The names of the options that were given.
        known: The names of the options that it has.

    Raises:
        ConfigurationError: An option is unknown; the message names the nearest known one.

    Examples:
        >>> ensure_known_options("TemporisResource", ["uri"], ["url", "token"])
        Traceback (most recent call last):
        temporis_dagster.errors.ConfigurationError: TemporisResource has no option 'uri'. Did you mean 'url'?
    """
    names = list(known)
    for option in given:
        if option not in names:
            near = get_close_matches(option, names, n=1)
            advice = f"Did you mean {near[0]!r}?" if near else f"Its options are {', '.join(names)}."
            raise ConfigurationError(f"{what} has no option {option!r}. {advice}")
