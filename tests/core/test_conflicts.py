"""Rows with one (timestamp, name) and different values: never lost in silence, and refused where that is asked for."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import InvalidObservationsError, connect
from temporis_dagster.data_source.observations import (
    ObservationOptions,
    model,
    names,
    observe,
    repeated_keys,
    timestamps,
)

JUNE = 1_718_841_600
ROW = st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.sampled_from([0.0, -0.0, 1.0, 5e-324, 2.5]))
CELLS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.sampled_from([None, 0.0, -0.0, 1.5]), min_size=3, max_size=3))
)


@pytest.fixture(params=[2, 100_000], ids="in blocks of {} rows".format, scope="module")
def _block_rows(request):
    with pytest.MonkeyPatch.context() as patch:
        for room in (model, names, repeated_keys, timestamps):
            patch.setattr(room, "BLOCK_ROWS", request.param)
        yield


def long(rows) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "timestamp": np.array([JUNE + row[0] for row in rows], dtype="int64"),
            "name": pd.Series([row[1] for row in rows], dtype=object),
            "value": np.array([row[2] for row in rows], dtype="float64"),
        }
    )


def hold(observations, rows) -> None:
    """What a dict that is fed row by row says of rows (position, key, value)."""
    last = {key: (position, value) for position, key, value in rows}
    lost = [(position, key, value) for position, key, value in rows if last[key][0] != position]
    differ = [np.float64(value).tobytes() != np.float64(last[key][1]).tobytes() for _, key, value in lost]
    kept = observations.frame()
    assert kept.position.tolist() == sorted(position for position, _ in last.values())
    assert len(observations) + observations.superseded == observations.observations_in == len(rows)
    assert observations.conflicts == sum(differ)
    if not lost:
        assert observations.superseded_rows is None
        return
    frame = observations.superseded_rows.frame()
    assert frame.columns.tolist() == ["position", "label", "timestamp", "name", "value", "reason"]
    assert frame.position.tolist() == [position for position, _, _ in lost]
    assert frame.value.to_numpy().tobytes() == np.array([value for _, _, value in lost]).tobytes()
    for reason, (_, key, _), differs in zip(frame.reason, lost, differ, strict=True):
        position, value = last[key]
        assert reason.startswith(f"row {position} (label {position}) has ")
        assert reason.endswith(f"the {'' if differs else 'same '}value {value!r}")


def hold_on_raise(frame, rows, **options) -> None:
    """It raises exactly where a repeated key has another value, and names those rows."""
    last = {key: value for _, key, value in rows}
    differ = [row for row, key, value in rows if np.float64(value).tobytes() != np.float64(last[key]).tobytes()]
    if not differ:
        observe(frame, ObservationOptions(on_conflict="raise", **options))
        return
    with pytest.raises(InvalidObservationsError) as raised:
        observe(frame, ObservationOptions(on_conflict="raise", **options))
    assert raised.value.rows.position.tolist() == differ
    assert (raised.value.conflicts, raised.value.observations_in) == (len(differ), len(rows))


@pytest.mark.usefixtures("_block_rows")
@given(rows=st.lists(ROW, max_size=20))
def test_of_a_long_frame_every_row_that_is_lost_is_listed_and_counted(rows):
    """The last row of a key wins, the others are listed with it, and only those of other bits are conflicts."""
    frame, keyed = long(rows), [(row, (second, name), value) for row, (second, name, value) in enumerate(rows)]
    hold(observe(frame, ObservationOptions(layout="long")), keyed)
    hold_on_raise(frame, keyed, layout="long")


@pytest.mark.usefixtures("_block_rows")
@given(cells=CELLS)
def test_of_a_wide_frame_every_cell_that_is_lost_is_listed_and_counted(cells):
    """The same, cell by cell: a hole is nothing, and repeats nothing."""
    matrix = np.array([[np.nan if v is None else v for v in row] for _, row in cells]).reshape(-1, 3)
    stamps = pd.to_datetime([JUNE + second for second, _ in cells], unit="s", utc=True)
    frame = pd.DataFrame(matrix, columns=list("abc"), index=stamps)
    rows = [
        (row, (second, name), value)
        for row, (second, values) in enumerate(cells)
        for name, value in zip("abc", values, strict=True)
        if value is not None
    ]
    observations = observe(frame)
    last = {key: (row, value) for row, key, value in rows}
    lost = [(row, key) for row, key, _ in rows if last[key][0] != row]
    assert len(observations) + observations.superseded == len(rows)
    found = [] if observations.superseded_rows is None else observations.superseded_rows.frame()
    assert (
        [(p, n) for p, n in zip(found.position, found["name"], strict=True)] == [(row, name) for row, (_, name) in lost]
        if lost
        else len(found) == 0
    )
    hold_on_raise(frame, rows)


@given(rows=st.lists(ROW, min_size=1, max_size=12), bad=st.sets(st.integers(0, 11), max_size=3))
def test_an_invalid_row_neither_wins_nor_is_a_conflict(rows, bad):
    """With on_invalid="drop", conflicts are those of the rows that are left."""
    frame = long(rows)
    bad = {row for row in bad if row < len(rows)}
    frame.loc[list(bad), "value"] = np.nan
    left = [(row, (second, name), value) for row, (second, name, value) in enumerate(rows) if row not in bad]
    observations = observe(frame, ObservationOptions(layout="long", on_invalid="drop"))
    last = {key: row for row, key, _ in left}
    assert observations.superseded == len(left) - len(last)
    assert observations.observations_in == len(rows)


def test_a_warning_has_the_count_the_first_key_and_what_to_do(caplog):
    """A warning shows that values were lost, which ones, and how to refuse them. Equal rows cause no warning."""
    rows = [(0, "up", 1.0), (1, "up", 3.0), (0, "up", 0.0), (1, "up", 3.0)]
    with caplog.at_level(logging.WARNING, logger="temporis_dagster"):
        observe(long(rows), data_source="src")
    (record,) = caplog.records
    said = record.getMessage()
    for words in ("1 of 4 observations for 'src' has", "row 0", "2024-06-20T00:00:00+00:00", "'up'", "value 0.0"):
        assert words in said
    assert "on_conflict='raise'" in said
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="temporis_dagster"):
        observe(long([(0, "up", 1.0), (0, "up", 1.0)]))
    assert not caplog.records


def test_the_report_lists_what_was_superseded_and_counts_the_conflicts(tmp_path):
    """The frame is that of every other outcome; the line says how many had another value; the counts add up."""
    rows = [(0, "up", 1.0), (0, "up", 2.0), (0, "up", 2.0), (1, "up", 5.0)]
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        source = temporis.create_data_source("src")
        assert source.check(long(rows)).conflicts == 1
        with pytest.raises(InvalidObservationsError):
            source.check(long(rows), on_conflict="raise")
        report = source.upsert(long(rows))
        assert source.read().value.tolist() == [2.0, 5.0]
    assert (report.superseded, report.conflicts, report.stored) == (2, 1, 2)
    assert report.superseded_rows.columns.tolist() == report.dropped_rows.columns.tolist()
    assert report.superseded_rows.position.tolist() == [0, 1]
    assert "2 superseded, 1 of them by another value" in str(report)
    assert report.to_dict()["conflicts"] == 1


def test_checked_observations_are_refused_as_well(tmp_path):
    """What was read with a warning may still be refused when it is to be stored."""
    observations = observe(long([(0, "up", 1.0), (0, "up", 2.0)]))
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        source = temporis.create_data_source("src")
        with pytest.raises(InvalidObservationsError):
            source.upsert(observations, on_conflict="raise")
        with pytest.raises(InvalidObservationsError):
            source.upsert(observations.in_time_order(), on_conflict="raise")
        assert source.upsert(observations).conflicts == 1
