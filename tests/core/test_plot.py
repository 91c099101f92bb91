"""The plot of a data source: what is stored, in UTC, with gaps, and few points however many observations there are."""

from __future__ import annotations

import sys
from datetime import timedelta
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from temporis_dagster import ConfigurationError, DataSourceNotFoundError, NotSupportedError, connect
from temporis_dagster.data_source.reading import Rows
from temporis_dagster.data_source.reading.plot import ALL_KEPT, LARGEST_DRAWN, SLICES, Thinned
from temporis_dagster.testing import FakeService, sample_frame

START = pd.Timestamp("2024-06-20", tz="UTC")


@pytest.fixture(autouse=True)
def no_window():
    """Figures are drawn into memory, and closed."""
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.fixture
def source(store_url):
    with connect(store_url) as temporis:
        yield temporis.data_source("store_metrics")


def drawn(line):
    """The times and values of a line, NaN where it is interrupted."""
    return pd.Series(line.get_ydata(), index=pd.DatetimeIndex(line.get_xdata()).tz_localize("UTC"))


def hourly(count, **series):
    return pd.DataFrame(series, index=pd.date_range(START, periods=count, freq="h"))


def interruptions(line):
    return drawn(line).isna().sum()


def words(ax):
    """What stands below the plot, after the zone."""
    zone, *remarks = ax.get_xlabel().split("\n")
    assert zone == "UTC"
    return " ".join(remarks)


def test_a_plot_has_a_line_per_series_with_every_observation(source):
    """Names in order, exact times and values, a legend, the name of the data source; the Axes are returned."""
    frame = sample_frame(24)
    source.upsert(frame)
    ax = source.plot()
    ax.figure.canvas.draw()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["orders", "revenue"]
    assert [line.get_label() for line in ax.lines] == ["orders", "revenue"]
    for line, name in zip(ax.lines, frame, strict=True):
        assert drawn(line).tolist() == frame[name].tolist()
        assert drawn(line).index.equals(frame.index.rename(None).as_unit("s"))
    assert (ax.get_title(), words(ax)) == ("store_metrics", "")


def test_the_window_and_the_names_are_those_of_read(source):
    """[start, end), names in the order of the call; the axis is the window, also where nothing is stored."""
    source.upsert(sample_frame(24))
    ax = source.plot(["revenue", "orders"], START + timedelta(hours=4), START + timedelta(days=2))
    assert [line.get_label() for line in ax.lines] == ["revenue", "orders"]
    assert len(drawn(ax.lines[0])) == 20
    left, right = mpl.dates.num2date(ax.get_xlim())
    assert (left, right) == (START + timedelta(hours=4), START + timedelta(days=2))
    ax = source.plot(end=int(START.timestamp()) + 7200)
    assert [len(drawn(line)) for line in ax.lines] == [2, 2]


def test_times_are_in_utc_wherever_the_reader_is(source):
    """Also with another zone in matplotlib's own settings."""
    source.upsert(hourly(24, orders=1.0))
    with mpl.rc_context({"timezone": "Asia/Tokyo"}):
        ax = source.plot()
        ax.figure.canvas.draw()
        labels = {label.get_position()[0]: label.get_text() for label in ax.get_xticklabels()}
    assert labels[mpl.dates.date2num(START + timedelta(hours=6))] == "06:00"


def test_a_gap_in_the_data_is_a_gap_in_the_line(source):
    """One missing hour of a regular series interrupts its line, and no line crosses it."""
    source.upsert(hourly(48, orders=1.0).drop(START + timedelta(hours=20)))
    (line,) = source.plot().lines
    assert interruptions(line) == 1
    assert drawn(line).iloc[:20].notna().all()
    assert np.isnan(drawn(line).iloc[20])
    assert drawn(line).iloc[21:].notna().all()
    assert interruptions(source.plot(gap="2h").lines[0]) == 0
    assert interruptions(source.plot(gap=timedelta(minutes=30)).lines[0]) == 46


def test_business_days_and_months_have_no_gaps(source):
    """What is usual in a series is no gap: weekends, months of 28 to 31 days, irregular readings."""
    days = pd.date_range("2024-01-01", periods=250, freq="B", tz="UTC")
    months = pd.date_range("2000-01-01", periods=120, freq="MS", tz="UTC")
    source.upsert(pd.Series(1.0, index=days, name="days"))
    source.upsert(pd.Series(1.0, index=months, name="months"))
    assert [interruptions(line) for line in source.plot().lines] == [0, 0]


def test_an_observation_between_two_gaps_can_be_seen(source):
    """It has no line, so it has a dot; others have none."""
    source.upsert(hourly(48, orders=1.0).drop([START + timedelta(hours=hour) for hour in (9, 11)]))
    (line,) = source.plot().lines
    assert drawn(line).index[line.get_markevery()].tolist() == [START + timedelta(hours=10)]
    source.upsert(pd.Series([1.0], index=[START], name="lone"))
    (line,) = source.plot("lone").lines
    assert line.get_markevery() == [0]


def test_at_most_ten_series_are_drawn_and_the_plot_says_which_are_not(source):
    """The first ones by name, or as many as the caller says; names without observations are said as well."""
    source.upsert(hourly(3, **{f"series_{number:02d}": 1.0 for number in range(17)}))
    ax = source.plot()
    assert len(ax.lines) == 10
    left_out = "series_10, series_11, series_12, series_13, series_14 and 2 more"
    assert words(ax) == f"7 more series are left out: {left_out}"
    ax = source.plot(["series_16", "typo", "series_00"], max_series=2)
    assert [line.get_label() for line in ax.lines] == ["series_16"]
    assert words(ax) == "1 more series is left out: series_00 without observations here: typo"
    assert len(source.plot(max_series=20).lines) == 17


def test_nothing_is_said_in_words(source):
    """An empty data source, a window without observations, no such series: Axes that say so."""
    assert [text.get_text() for text in source.plot().texts] == ["No observations."]
    source.upsert(hourly(3, orders=1.0))
    for ax in (source.plot(["typo"]), source.plot(end=0), source.plot([])):
        ax.figure.canvas.draw()
        assert [text.get_text() for text in ax.texts] == ["No observations."]
        assert list(ax.lines) == []


@pytest.mark.parametrize("name", ["$x^$", "_hidden", "<script>", "emoji 🚲 電", "a\nb", "n" * 300, "%s {0}"])
def test_any_name_of_a_series_can_be_drawn(source, name):
    """No markup, no missing glyphs, no room taken by a long name."""
    source.upsert(hourly(3, **{name: 1.0, "other": 2.0}))
    for ax in (source.plot(), source.plot(["other", name], max_series=1), source.plot(name, end=0)):
        ax.figure.canvas.draw()
    assert len(source.plot().get_legend().get_texts()) == 2


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"timestamp": [0], "name": "orders", "value": [1.0]}),
        pd.DataFrame({"timestamp": [-62_135_596_800, 99_999_999_999], "name": "orders", "value": [1.0, 2.0]}),
        pd.DataFrame({"timestamp": [0, 1, 2], "name": "orders", "value": [-1.7e308, 0.0, 1.7e308]}),
        pd.DataFrame({"timestamp": [0, 1, 2], "name": "orders", "value": [5e-324, -0.0, -5e-324]}),
    ],
    ids=["one", "centuries", "huge", "tiny"],
)
def test_whatever_can_be_stored_can_be_drawn(source, frame):
    """One observation, the first and last second that there can be, the largest and smallest floats."""
    source.upsert(frame, allow_future=True)
    source.plot().figure.canvas.draw()


def test_an_axes_of_the_caller_is_drawn_on(source):
    """Two plots, one above the other, or in one: what was there stays in view."""
    source.upsert(hourly(24, orders=1.0, revenue=2.0))
    _, (above, below) = plt.subplots(2)
    assert source.plot("orders", ax=above) is above
    source.plot("revenue", START + timedelta(hours=12), ax=above)
    source.plot("revenue", ax=below)
    assert [len(drawn(line)) for line in (*above.lines, *below.lines)] == [24, 12, 24]
    assert mpl.dates.num2date(above.get_xlim()[0]) == START


def test_many_observations_become_few_points(source):
    """300,000 observations: some thousand points, among them the largest, the smallest, and what is around a gap."""
    count = 300_000
    values = np.sin(np.arange(count) / 9_000)
    values[123_456], values[222_222] = 7.0, -7.0
    frame = pd.DataFrame({"timestamp": 60 * np.arange(count), "name": "orders", "value": values})
    source.upsert(frame.drop(range(50_000, 52_000)))
    (line,) = source.plot().lines
    shown = drawn(line).dropna()
    assert len(shown) <= ALL_KEPT
    assert (shown.max(), shown.min()) == (7.0, -7.0)
    assert shown.index[shown.argmax()] == pd.Timestamp(123_456 * 60, unit="s", tz="UTC")
    at = drawn(line).index[drawn(line).isna()]
    assert at.tolist() == [pd.Timestamp(52_000 * 60, unit="s", tz="UTC")]
    assert pd.Timestamp(49_999 * 60, unit="s", tz="UTC") in shown.index


def test_what_is_kept_of_a_long_reading_does_not_grow():
    """Two million observations in a thousand batches: never more than a batch and what is drawn."""
    kept, most = Thinned(["a", "b"], 0, 1_000_000), 0
    for number in range(1_000):
        stamps = np.arange(number * 2_000, (number + 1) * 2_000) // 2
        kept.add(Rows(stamps, np.arange(2_000, dtype=np.int32) % 2, ["a", "b"], np.cos(stamps / 50.0)))
        most = max(most, sum(len(line.timestamps) for line in kept.lines()) if number % 50 == 0 else 0)
    assert most <= ALL_KEPT
    assert all(len(line.timestamps) > 2 * SLICES for line in kept.lines())


@given(
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=60),
    values=st.lists(st.floats(-1e100, LARGEST_DRAWN), min_size=60, max_size=60),
    cuts=st.sets(st.integers(1, 59)),
)
def test_thinning_keeps_the_ends_and_the_extremes_of_each_slice(steps, values, cuts):
    """However the rows come in batches, a line has the first, last, smallest and largest value of each slice."""
    stamps, values = np.cumsum(steps) * 1_000, np.array(values[: len(steps)])
    codes, bounds = np.zeros(len(stamps), np.int32), [0, *sorted(cut for cut in cuts if cut < len(stamps)), len(stamps)]
    parts = [slice(first, last) for first, last in pairwise(bounds)]
    kept = Thinned(["a"], int(stamps[0]), int(stamps[-1]) + 1)
    for part in parts:
        kept.add(Rows(stamps[part], codes[part], ["a"], values[part]))
    slices = kept._slices(stamps)
    kept._thin()
    (line,) = kept.lines(gap_s=1e12)
    expected = pd.DataFrame({"slice": slices, "value": values}).groupby("slice").value.agg(["min", "max"])
    found = pd.DataFrame({"slice": kept._slices(line.timestamps), "value": line.values}).groupby("slice").value
    pd.testing.assert_frame_equal(found.agg(["min", "max"]), expected)
    assert (line.timestamps[0], line.timestamps[-1]) == (stamps[0], stamps[-1])


def test_over_http_only_a_mirror_can_be_drawn(tmp_path):
    """The API never returns observations: as for read, the error says how to see them."""
    with FakeService() as service:
        temporis = connect(service.url, service.token)
        with temporis, pytest.raises(NotSupportedError, match="cannot be read"):
            temporis.data_source("store_metrics").plot()
        with connect(service.url, service.token, mirror=f"sqlite:///{tmp_path}/mirror.db") as temporis:
            source = temporis.data_source("store_metrics")
            source.upsert(sample_frame(24))
            assert len(source.plot().lines) == 2


def test_without_matplotlib_the_error_says_how_to_install_it(source, monkeypatch):
    """The extra has a name."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'temporis-dagster\[plots\]'"):
        source.plot()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_series": 0}, "max_series must be an integer of at least 1, got 0"),
        ({"gap": "MS"}, "gap='MS' is a step of the calendar"),
        ({"gap": 5}, "gap must be a timedelta"),
        ({"start": START.tz_localize(None)}, "has no time zone"),
        ({"start": 60, "end": 0}, "ends before it begins"),
        ({"names": [5]}, "names must contain only strings"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused(source, arguments, said):
    """Before anything is read or drawn."""
    with pytest.raises(ConfigurationError, match=said):
        source.plot(**arguments)
    assert plt.get_fignums() == []


def test_a_data_source_that_does_not_exist_is_not_drawn(store_url):
    """No empty figure stays behind."""
    with connect(store_url) as temporis, pytest.raises(DataSourceNotFoundError):
        temporis.data_source("nowhere").plot()
    assert plt.get_fignums() == []
