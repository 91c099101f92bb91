"""One error of each kind that the package raises, with all its parts."""

from __future__ import annotations

import pandas as pd

from temporis_dagster import errors
from temporis_dagster.data_source.observations import observe
from temporis_dagster.data_source.report import Outcome, Tally, UpsertReport


def a_report() -> UpsertReport:
    """The report of an upsert that stored one of three observations."""
    frame = pd.DataFrame({"timestamp": [1, 2, 3], "name": "orders", "value": [1.0, 2.0, 3.0]}, index=["x", "y", "z"])
    tally = Tally("store_metrics", observe(frame))
    tally.settle(slice(0, 1), Outcome.ACKNOWLEDGED)
    return tally.report("Unarchive it first.")


EVERY_ERROR = [
    errors.TemporisError("Something."),
    errors.ConfigurationError("Something."),
    errors.InvalidObservationsError("Something.", rows=pd.DataFrame({"position": [1]})),
    errors.DataSourceNotFoundError("Something.", data_source="store_metrics", report=a_report()),
    errors.DataSourceArchivedError("Something.", data_source="store_metrics", report=a_report()),
    errors.DeliveryError("Something.", data_source="store_metrics", report=a_report()),
    errors.AuthenticationError("Something.", data_source="store_metrics", report=a_report()),
    errors.RejectedObservationsError("Something.", data_source="store_metrics", report=a_report()),
    errors.UnavailableError("S.", data_source="store_metrics", report=a_report(), attempts=3, retry_after_s=7.0),
    errors.NotSupportedError("Something."),
    errors.ReadNotSupportedError("Something."),
    errors.MirrorError("Something.", url="sqlite:////x.db", report=a_report()),
    errors.StoreError("Something.", url="sqlite:////x.db", report=a_report(), retryable=True),
    errors.StreamError("Something.", report=a_report()),
]
