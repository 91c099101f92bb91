"""Rules that hold for any frame: the dict that a careful person would fill row by row is what observe makes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster.data_source.observations import (
    ObservationOptions,
    Observations,
    model,
    names,
    observe,
    repeated_keys,
    timestamps,
)
from temporis_dagster.data_source.observations.advice import PYTHON
from temporis_dagster.data_source.observations.model import put

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4)
BITS_END = st.sampled_from([sign * 2**bits + step for sign in (-1, 1) for bits in (31, 32) for step in (-1, 0)])
SECONDS = st.one_of(st.integers(-3, 3), BITS_END, st.integers(-62135596800, 10**11 - 1))
ANY_SECOND = {"unit": "s", "allow_future": True}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(st.tuples(SECONDS, st.one_of(st.sampled_from("abc"), NAMES), NUMBERS), max_size=30)
ARROW_TEXTS = ["string[pyarrow]", *(["str"] if int(pd.__version__.split(".")[0]) > 2 else [])]
UNITS = st.sampled_from(["s", "ms", "us", "int", "float", "objects"])


@pytest.fixture(scope="module", autouse=True, params=[3, 100_000], ids="in blocks of {} rows".format)
def _block_rows(request):
    """Every rule holds however a frame is cut into blocks."""
    with pytest.MonkeyPatch.context() as patch:
        for room in (model, names, repeated_keys, timestamps):
            patch.setattr(room, "BLOCK_ROWS", request.param)
        yield


def frame_of(rows, unit="int") -> pd.DataFrame:
    stamps = np.array([row[0] for row in rows], dtype="int64")
    moments = stamps.astype("datetime64[s]")
    column = {
        "int": lambda: pd.Series(stamps),
        "float": lambda: pd.Series(stamps.astype(float)),
        "objects": lambda: pd.Series(list(pd.Series(moments).dt.tz_localize("UTC")), dtype=object),
    }.get(unit, lambda: pd.Series(moments.astype(f"datetime64[{unit}]")).dt.tz_localize("UTC"))()
    names, numbers = pd.Series([row[1] for row in rows], dtype=object), pd.Series([row[2] for row in rows], dtype=float)
    return pd.DataFrame({"timestamp": column, "name": names, "value": numbers})


def as_dict(observations: Observations) -> dict[tuple[int, str], bytes]:
    names = [observations.names[code] for code in observations.codes]
    keys = list(zip(observations.timestamps.tolist(), names, strict=True))
    assert len(set(keys)) == len(keys), "a key stands twice"
    return dict(zip(keys, [value.tobytes() for value in observations.values], strict=True))


def fed_row_by_row(rows) -> dict[tuple[int, str], bytes]:
    return {(second, name): np.float64(value).tobytes() for second, name, value in rows}


@given(rows=ROWS, unit=UNITS)
def test_any_valid_rows_become_what_a_dict_fed_in_row_order_holds(rows, unit):
    """Last row wins, bit for bit, for every dtype of the timestamps, and every row has one outcome."""
    observations = observe(frame_of(rows, unit), ObservationOptions(layout="long", **ANY_SECOND))
    assert as_dict(observations) == fed_row_by_row(rows)
    assert observations.observations_in == len(rows)
    assert len(observations) + observations.superseded == len(rows)


@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_positions_lead_back_to_the_row_that_each_observation_came_from(rows, order):
    """Whatever was superseded or re-ordered, position and label name the very row, also after sorting by time."""
    frame = frame_of(rows)
    frame.index = pd.Index([f"row {i}" for i in range(len(frame))], dtype=object)
    frame = frame.sample(frac=1, random_state=order.randrange(2**32)) if len(frame) else frame
    back = observe(frame, ObservationOptions(layout="long", **ANY_SECOND)).in_time_order().frame()
    assert back.timestamp.is_monotonic_increasing
    for row in back.itertuples():
        source = frame.iloc[row.position]
        assert (source.name, source["name"], float(source["value"])) == (row.label, row.name, row.value)


CELLS = st.lists(st.tuples(SECONDS, st.lists(st.one_of(st.none(), NUMBERS), min_size=3, max_size=3)), max_size=10)


@given(cells=CELLS)
def test_a_wide_frame_says_the_same_as_its_long_form(cells):
    """A cell is an observation, a hole is none, a repeated timestamp overwrites cell by cell."""
    stamps = np.array([second for second, _ in cells], dtype="int64").astype("datetime64[s]")
    matrix = np.array([[np.nan if v is None else v for v in row] for _, row in cells]).reshape(-1, 3)
    wide = pd.DataFrame(matrix, columns=list("abc"), index=pd.DatetimeIndex(stamps).tz_localize("UTC"))
    rows = [(s, name, v) for s, row in cells for name, v in zip("abc", row, strict=True) if v is not None]
    observations = observe(wide, ObservationOptions(**ANY_SECOND))
    assert as_dict(observations) == fed_row_by_row(rows)
    assert observations.observations_in == len(rows)


SPOILT = st.sampled_from(
    [("timestamp", None), ("timestamp", 1.5), ("name", ""), ("name", None), ("value", np.inf), ("value", np.nan)]
)


@given(rows=ROWS, spoilt=st.lists(st.tuples(st.integers(0, 29), SPOILT), max_size=5))
def test_dropping_leaves_out_exactly_the_spoilt_rows(rows, spoilt):
    """With on_invalid="drop" the rest is as if the spoilt rows had never been there, and they are all listed."""
    frame = frame_of(rows).astype(object)
    for row, (column, value) in spoilt:
        if row < len(frame):
            frame.loc[row, column] = value
    bad = {row for row, _ in spoilt if row < len(frame)}
    observations = observe(frame, ObservationOptions(layout="long", on_invalid="drop", **ANY_SECOND))
    assert as_dict(observations) == fed_row_by_row([row for i, row in enumerate(rows) if i not in bad])
    assert set(observations.dropped_rows.get("position", [])) == bad
    assert observations.observations_in == len(rows)


INTEGERS = st.one_of(st.integers(-3, 3), BITS_END, st.integers(-(2**63), 2**63 - 1))


@given(blocks=st.lists(st.lists(INTEGERS, min_size=1, max_size=4), max_size=6))
def test_integers_written_block_by_block_are_kept_exactly_and_as_narrow_as_that_allows(blocks):
    """An array starts narrow and widens once a block does not fit: nothing wraps around, whichever block is wider."""
    everything = [number for block in blocks for number in block]
    whole, start = np.empty(len(everything), dtype=np.int32), 0
    for block in blocks:
        whole = put(np.array(block, dtype=np.int64), whole, start)
        start += len(block)
    assert whole.tolist() == everything
    narrow = all(-(2**31) <= n < 2**31 for n in everything) or all(0 <= n < 2**32 for n in everything)
    assert whole.dtype.itemsize == (4 if narrow else 8)


@given(
    st.lists(st.sampled_from(["a", "b", "c", "é", ""]) | st.none(), min_size=1, max_size=6),
    st.integers(1, 40),
    st.none() | st.tuples(st.integers(0, 39), st.sampled_from(["a", "d"]) | st.none()),
)
def test_names_that_repeat_in_rounds_are_read_as_any_others(a_round, rows, stranger):
    """Of a column that repeats its beginning, only the beginning is read; one other name anywhere, and all of it is."""
    texts = (a_round * rows)[:rows]
    if stranger is not None and stranger[0] < rows:
        texts[stranger[0]] = stranger[1]
    for dtype in [*ARROW_TEXTS, "object"]:
        found = names.names_of(pd.Series(texts, dtype=dtype), PYTHON)
        bad = {position for fault in found.faults for position in fault.rows.tolist()}
        assert bad == {row for row, text in enumerate(texts) if not text}
        for row, text in enumerate(texts):
            assert row in bad or found.names[found.codes[row]] == text
