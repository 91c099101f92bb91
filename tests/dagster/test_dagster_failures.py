"""What Dagster does with our errors: no retry, a later retry, or the asset's retry policy; through real runs."""

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import (
    AuthenticationError,
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    DeliveryError,
    InvalidObservationsError,
    MirrorError,
    NotSupportedError,
    ReadNotSupportedError,
    RejectedObservationsError,
    StoreError,
    StreamError,
    TemporisError,
    TemporisIOManager,
    TemporisResource,
    UnavailableError,
    UpsertReport,
    temporis_asset,
)
from temporis_dagster.dagster_failures import failures_for_dagster
from temporis_dagster.data_source.streams import observed
from temporis_dagster.testing import FakeService, answer, in_sequence, sample_frame
from tests.support.dagster_harness import attempts, failure_of, materializations

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DELIVERY = {"data_source": "store_metrics", "report": UpsertReport("store_metrics", observations_in=7, unsent=7)}
UNAVAILABLE = {**DELIVERY, "attempts": 3}
NEVER_AGAIN = [
    TemporisError("Something."),
    ConfigurationError("Something."),
    InvalidObservationsError("Something.", rows=pd.DataFrame({"position": [1]})),
    DeliveryError("Something.", **DELIVERY),
    AuthenticationError("Something.", **DELIVERY),
    DataSourceNotFoundError("Something.", **DELIVERY),
    DataSourceArchivedError("Something.", **DELIVERY),
    RejectedObservationsError("Something.", **DELIVERY),
    NotSupportedError("Something."),
    ReadNotSupportedError("Something."),
    MirrorError("Something.", url="sqlite:////x.db"),
    StoreError("Something.", url="sqlite:////x.db"),
    StoreError("Something.", url="sqlite:////x.db", report=DELIVERY["report"]),
]
AS_IT_IS = [
    UnavailableError("Something.", **UNAVAILABLE, retry_after_s=None),
    UnavailableError("Something.", **UNAVAILABLE, retry_after_s=300.0),
    StoreError("Something.", url="sqlite:////x.db", retryable=True),
    StreamError("Something."),
]
LATER = UnavailableError("Something.", **UNAVAILABLE, retry_after_s=300.5)


def words(error):
    return type(error).__name__


def tree(cls):
    return {cls}.union(*map(tree, cls.__subclasses__()))


def test_every_error_of_the_tree_is_in_one_of_the_tables():
    """A new error cannot be forgotten here."""
    decided = {type(error) for error in [*NEVER_AGAIN, *AS_IT_IS, LATER]}
    assert {cls for cls in tree(TemporisError) if cls.__module__ == "temporis_dagster.errors"} == decided


@pytest.mark.parametrize("error", NEVER_AGAIN, ids=words)
def test_what_a_retry_would_meet_again_is_a_failure_without_retries(error):
    """With the error's message, its class and, for an upsert, the counts by outcome."""
    with pytest.raises(dg.Failure) as caught, failures_for_dagster(300.0):
        raise error
    failure = caught.value
    assert (failure.allow_retries, failure.description, failure.__cause__) == (False, "Something.", error)
    assert failure.metadata["temporis/error"].value == type(error).__name__
    if getattr(error, "report", None):
        assert (failure.metadata["temporis/unsent"].value, failure.metadata["temporis/stored"].value) == (7, 0)


@pytest.mark.parametrize("error", AS_IT_IS, ids=words)
def test_what_may_pass_is_raised_as_it_is(error):
    """Then the retry policy of the asset decides, also if the client itself could have waited as long as asked."""
    with pytest.raises(type(error)) as caught, failures_for_dagster(300.0):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("asked", [dg.Failure("no use", allow_retries=False), dg.RetryRequested(2)])
def test_what_a_generator_asks_of_dagster_is_asked(asked):
    """As in the body of the asset. None is the cause of the other: Dagster follows causes to their end."""

    def frames():
        yield sample_frame()
        raise asked

    with pytest.raises(type(asked)) as caught, failures_for_dagster():
        observed(frames())
    assert caught.value is asked
    assert asked.__cause__ is None


def test_a_longer_wait_than_the_clients_patience_is_a_retry_after_that_wait():
    """The cause stays visible."""
    with pytest.raises(dg.RetryRequested) as caught, failures_for_dagster(300.0):
        raise LATER
    assert (caught.value.seconds_to_wait, caught.value.__cause__) == (300.5, LATER)


def test_other_errors_pass():
    """Errors outside the tree are left alone."""
    with pytest.raises(ZeroDivisionError), failures_for_dagster(300.0):
        raise ZeroDivisionError


# Through real runs, over HTTP


def run_against(service, data=None, *, retries=3, token=None, bodies=None, partition_key=None, asset=None, **options):
    """One run of an asset that would be retried."""

    @temporis_asset(
        data_source="store_metrics", name="orders", retry_policy=dg.RetryPolicy(max_retries=retries), **(asset or {})
    )
    def orders():
        if bodies is not None:
            bodies.append("run")
        return sample_frame() if data is None else data

    temporis = TemporisResource(url=service.url, token=token or service.token, **options)
    return dg.materialize(
        [orders],
        resources={"temporis_io_manager": TemporisIOManager(temporis=temporis)},
        raise_on_error=False,
        partition_key=partition_key,
    )


def facts(result):
    failure = failure_of(result).event_specific_data.user_failure_data
    return {key: entry.value for key, entry in failure.metadata.items()}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "AuthenticationError"),
        (403, "DeliveryError"),
        (404, "DataSourceNotFoundError"),
        (409, "DataSourceArchivedError"),
        (501, "DeliveryError"),
        (200, "DeliveryError"),
        (307, "DeliveryError"),
    ],
)
def test_a_final_answer_fails_the_step_once(status, kind):
    """Not retried, although the asset has a retry policy; the failure has the outcome of every observation."""
    with FakeService(script=lambda _request: answer(status, "words")) as service:
        result = run_against(service)
        assert (attempts(result), len(service.requests)) == (1, 1)
    shown = facts(result)
    assert shown["temporis/error"] == kind
    assert shown["temporis/unsent"] + shown["temporis/unknown"] == 48


def test_rejected_rows_are_shown_and_the_others_stored():
    """The reasons of the service, row by row, in a table; not retried."""
    with FakeService(fault_of=lambda record: "too large" if record["value"] == 3 else None) as service:
        result = run_against(service)
        assert attempts(result) == 1
        assert len(service.content) == 47
    shown = facts(result)
    assert (shown["temporis/error"], shown["temporis/stored"]) == ("RejectedObservationsError", 47)
    (row,) = shown["temporis/rejected_rows"].records
    assert "too large" in row.data["reason"]


def test_on_invalid_drop_takes_rejections_too_and_counts_no_rejected_row():
    """What the service rejected is a table of the materialization, and not counted as a row of the partition."""
    days = dg.DailyPartitionsDefinition("2024-06-20", end_date="2024-06-21")
    with FakeService(fault_of=lambda record: "too large" if record["value"] == 3 else None) as service:
        asset = {"on_invalid": "drop", "partitions_def": days}
        result = run_against(service, asset=asset, partition_key="2024-06-20")
    (metadata,) = materializations(result, "orders").values()
    assert (metadata["temporis/stored"], metadata["temporis/rejected"]) == (47, 1)
    assert metadata["dagster/partition_row_count"] == 47
    assert len(metadata["temporis/rejected_rows"].records) == 1


def test_an_outage_is_left_to_the_retry_policy():
    """The client gives up, the retry policy re-runs the step, and the second attempt stores everything."""
    bodies = []
    with FakeService(script=in_sequence(answer(503, "busy"))) as service:
        result = run_against(service, bodies=bodies, give_up_after_s=1e-9)
        assert len(service.content) == 48
    assert result.success
    assert len(bodies) == attempts(result) == 2


def test_a_long_wait_is_left_to_dagster():
    """Retry-After beyond give_up_after_s: the step is re-run after that time, without any retry policy."""
    bodies = []
    with FakeService(script=in_sequence(answer(429, "slow down", retry_after=1))) as service:
        result = run_against(service, retries=0, bodies=bodies, give_up_after_s=0.5)
        first, second = service.requests
        assert second.arrived_at - first.arrived_at >= 1
        assert len(service.content) == 48
    (retry,) = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]
    assert retry.step_retry_data.seconds_to_wait == 1
    assert "slow down" in str(retry.step_retry_data.error)
    assert result.success
    assert len(bodies) == 2


def test_a_short_wait_is_waited_out_in_the_client():
    """The body is not run again, and the materialization says that a request was repeated."""
    bodies = []
    with FakeService(script=in_sequence(answer(429, "slow down", retry_after=0))) as service:
        result = run_against(service, bodies=bodies)
    (metadata,) = materializations(result, "orders").values()
    assert (metadata["temporis/requests"], metadata["temporis/retries"], metadata["temporis/stored"]) == (2, 1, 48)
    assert bodies == ["run"]


def test_what_cannot_be_read_back_fails_the_reader_once():
    """The API has no read-back: a downstream asset learns that at once."""

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=3))
    def reader(orders):
        """Never runs."""

    @temporis_asset(data_source="store_metrics")
    def orders():
        return sample_frame()

    with FakeService() as service:
        temporis = TemporisResource(url=service.url, token=service.token)
        io_manager = TemporisIOManager(temporis=temporis)
        resources = {"temporis_io_manager": io_manager, "io_manager": io_manager}
        result = dg.materialize([orders, reader], resources=resources, raise_on_error=False)
    assert facts(result)["temporis/error"] == "ReadNotSupportedError"
    assert not result.retry_attempts_for_node("reader")


def test_the_service_sees_the_run():
    """The User-Agent of every request names the run, so that a log of the service leads to the Dagster UI."""
    with FakeService() as service:
        result = run_against(service)
        (request,) = service.requests
    assert request.headers["user-agent"].endswith(f" dagster-run/{result.run_id}")
    assert request.headers["user-agent"].startswith("temporis-dagster/")
