"""Errors carry their parts, survive a process boundary, and end with what to do."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

from temporis_dagster import (
    TemporisError,
    errors,
)
from temporis_dagster.data_source.observations import observe
from temporis_dagster.data_source.report import Outcome, Tally
from tests.support.every_error import EVERY_ERROR, a_report


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling_with_all_its_parts(error):
    """Dagster moves errors between processes: type, text and attributes arrive, frames of the report included."""
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.__dict__.keys() == error.__dict__.keys()
    assert back.retryable == error.retryable
    if getattr(error, "report", None) is not None:
        assert back.report == error.report
        assert back.report.unsent_rows.equals(error.report.unsent_rows)
        assert len(back.report.unsent_rows) == 2


def test_every_class_of_the_tree_is_tried_above():
    """Nothing joins the tree without passing the tests of this file."""
    tree = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TemporisError)}
    assert {type(error) for error in EVERY_ERROR} == tree


def test_a_report_names_the_rows_of_each_outcome():
    """Rows are named by position and by the caller's own label, with the reason in words."""
    rows = a_report().unsent_rows
    assert rows[["position", "label", "name", "value"]].values.tolist() == [
        [1, "y", "orders", 2.0],
        [2, "z", "orders", 3.0],
    ]
    assert set(rows.reason) == {"Unarchive it first."}
    assert str(rows.timestamp.dtype) == "datetime64[s, UTC]"


def test_the_frames_of_a_report_have_one_shape_also_when_empty():
    """Code that reads a report needs no case for "none"."""
    report = a_report()
    for frame in (report.dropped_rows, report.rejected_rows, report.unknown_rows, report.unsent_rows):
        assert list(frame.columns) == ["position", "label", "timestamp", "name", "value", "reason"]


def test_a_report_is_one_readable_line_a_table_and_plain_data():
    """str() is for logs, HTML for notebooks, to_dict for JSON."""
    report = a_report()
    assert str(report).startswith("store_metrics: 3 observations of 1 series (1 stored, 2 unsent) in 0.0")
    assert "</b>: 3 observations of 1 series" in report._repr_html_()
    shown = report.to_dict()
    assert (shown["stored"], shown["unsent"], shown["first_timestamp"]) == (1, 2, "1970-01-01T00:00:01+00:00")
    assert not any(key.startswith("_") for key in shown)


def test_a_later_outcome_replaces_an_earlier_one():
    """An observation has exactly one outcome at any time, so the counts always add up."""
    tally = Tally("store_metrics", observe(pd.DataFrame({"timestamp": range(10), "name": "a", "value": 1.0})))
    tally.settle(slice(0, 6), Outcome.UNKNOWN, reason="no answer")
    tally.settle(np.array([0, 5]), Outcome.ACKNOWLEDGED, unchanged=1)
    report = tally.report()
    assert (report.stored, report.unchanged, report.unknown, report.unsent) == (1, 1, 4, 4)
    assert report.unknown_rows.position.tolist() == [1, 2, 3, 4]
