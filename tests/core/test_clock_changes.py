"""The nights when the clock changes: stored instants are right, or refused; never swapped, never fewer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd
import pytest
import pytz
from click.testing import CliRunner
from dateutil import tz as dateutil_tz
from hypothesis import assume, given
from hypothesis import strategies as st

from temporis_dagster import ConfigurationError, InvalidObservationsError, connect
from temporis_dagster.cli import main
from temporis_dagster.data_source.observations import ObservationOptions, observe
from tests.core.test_allow_future import through_dagster

UTC = timezone.utc
ZONES = sorted(available_timezones() - {"localtime", "Factory"})


@cache
def changes(zone: str, year: int) -> list[int]:
    """The Unix seconds of a year at which the clock of a zone goes forward or back."""
    info, start = ZoneInfo(zone), int(datetime(year, 1, 1, tzinfo=UTC).timestamp())

    def offset(second):
        return datetime.fromtimestamp(second, info).utcoffset()

    found = []
    for day in range(start, start + 366 * 86_400, 86_400):
        low, high = day, day + 86_400
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        found.append(high)
    return found


@st.composite
def nights(draw):
    """A zone, and instants around one of its changes, minutely to hourly, both passes complete; in no order yet."""
    zone, year = draw(st.sampled_from(ZONES)), draw(st.integers(1975, 2025))
    known = changes(zone, year)
    assume(known)
    change, step_s = draw(st.sampled_from(known)), draw(st.sampled_from([60, 300, 600, 900, 1800, 3600]))
    before, after = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    hours = 2 if step_s < 600 else 4
    first = change - change % step_s - hours * 3600 - before * step_s
    return zone, np.arange(first, change + hours * 3600 + after * step_s + 1, step_s)


ORDERS = st.sampled_from(["forward", "backward", "shuffled", "by the clock", "days backward", "swapped in pairs"])


def wall_of(zone: str, instants: np.ndarray) -> pd.Series:
    return pd.Series(pd.to_datetime(instants, unit="s", utc=True)).dt.tz_convert(zone).dt.tz_localize(None)


def arranged(order: str, zone: str, instants: np.ndarray, random) -> np.ndarray:
    wall = wall_of(zone, instants)
    if order == "backward":
        return instants[::-1]
    if order == "shuffled":
        return np.array(random.sample(instants.tolist(), len(instants)))
    if order == "by the clock":
        return instants[np.argsort(wall.to_numpy(), kind="stable")]
    if order == "days backward":
        days = wall.dt.normalize().to_numpy()
        return np.concatenate([instants[days == day] for day in np.unique(days)[::-1]])
    if order == "swapped in pairs":
        return instants.reshape(-1, 2)[:, ::-1].ravel() if len(instants) % 2 == 0 else instants
    return instants


def ensure_right_or_refused(frame: pd.DataFrame, zone: str, truth: dict[tuple[str, float], int]) -> bool:
    try:
        found = observe(frame, ObservationOptions(timezone=zone, ambiguous="infer"))
    except InvalidObservationsError as error:
        if frame.duplicated(["timestamp", "name"]).any():
            assert "ambiguous=True" not in str(error), "the advice would make one row of two"  # noqa: PT017
        return False
    names = [found.names[code] for code in found.codes]
    stored = dict(zip(zip(names, found.values.tolist(), strict=True), found.timestamps.tolist(), strict=True))
    assert stored == truth
    return True


@given(nights(), ORDERS, st.randoms(use_true_random=False))
def test_instants_are_right_or_refused_whatever_the_order_of_the_rows(night, order, random):
    """Any zone with a change, minutely to hourly. Forward and backward are always understood."""
    zone, instants = night
    rows = arranged(order, zone, instants, random)
    wall = wall_of(zone, rows)
    straight = [wall_of(zone, way).tolist() for way in (instants, instants[::-1])]
    ordered = rows.tolist() in (instants.tolist(), instants[::-1].tolist())
    assume(ordered or wall.tolist() not in straight)  # no one can tell those apart
    frame = pd.DataFrame({"timestamp": wall, "name": "load", "value": rows.astype(float)})
    taken = ensure_right_or_refused(frame, zone, {("load", float(row)): row for row in rows.tolist()})
    # Hourly rows show half an hour that came twice only once.
    assert taken or not ordered or not wall.duplicated().any()


@given(nights(), st.lists(st.sampled_from(["forward", "backward"]), min_size=2, max_size=4), st.data())
def test_each_series_of_a_long_frame_has_its_own_order(night, orders, data):
    """Series that go forward and backward in one frame, with rows missing, their rows mixed as they come."""
    zone, instants = night
    queues = []
    for number, order in enumerate(orders):
        missing = data.draw(st.sets(st.sampled_from(instants.tolist()), max_size=5))
        rows = [row for row in instants.tolist() if row not in missing]
        queues.append([(f"series {number}", row) for row in (rows if order == "forward" else rows[::-1])])
    random, mixed = data.draw(st.randoms(use_true_random=False)), []
    while any(queues):
        mixed.append(random.choice([queue for queue in queues if queue]).pop(0))
    rows = np.array([row for _, row in mixed])
    names = [name for name, _ in mixed]
    frame = pd.DataFrame({"timestamp": wall_of(zone, rows), "name": names, "value": rows.astype(float)})
    truth = {(name, float(row)): row for name, row in mixed}
    try:
        found = observe(frame, ObservationOptions(timezone=zone, ambiguous="infer"))
    except InvalidObservationsError:
        return
    seen = {
        (found.names[code], value): second
        for code, value, second in zip(found.codes, found.values.tolist(), found.timestamps.tolist(), strict=True)
    }
    assert seen == truth


@given(nights(), st.booleans())
def test_a_wide_frame_and_a_series_are_read_as_the_long_frame_is(night, backward):
    """One index for all series, whichever way it goes."""
    zone, instants = night
    rows = instants[::-1] if backward else instants
    wide = pd.DataFrame({"a": rows.astype(float), "b": 1.0}, index=pd.DatetimeIndex(wall_of(zone, rows)))
    options = ObservationOptions(timezone=zone, ambiguous="infer")
    for data in (wide, wide["a"]):
        found = observe(data, options)
        assert found.superseded == 0
        assert set(found.timestamps.tolist()) == set(instants.tolist())
        of_a = found.codes == found.names.index("a")
        assert found.timestamps[of_a].tolist() == found.values[of_a].tolist()


def test_columns_that_take_turns_are_not_taken_for_two_passes():
    """Of a wide frame, two rows of one clock time may be one moment, written a column at a time."""
    hours = pd.to_datetime([f"2020-11-01 {t}" for t in ("00:00", "01:00", "01:00", "02:00")])
    infer = ObservationOptions(timezone="America/New_York", ambiguous="infer")
    both = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [None, 2.0, None, None]}, index=hours)
    assert len(observe(both, infer)) == 5
    silent = both.assign(a=[1.0, None, 3.0, 4.0], b=1.0)
    assert len(observe(silent, infer)) == 7
    outage = pd.DataFrame({"a": [1.0, 2.0, None, 4.0]}, index=hours)
    assert observe(outage, infer).timestamps.tolist() == [1604203200, 1604206800, 1604214000]
    turns = pd.DataFrame({"a": [1.0, None, 3.0, 4.0], "b": [None, 2.0, None, None]}, index=hours)
    with pytest.raises(InvalidObservationsError, match="no column holds a value in both of its passes"):
        observe(turns, infer)


# Siblings of the faults that were seen, on every surface

BERLIN = [f"2018-10-28 {t}" for t in ("01:45", "02:00", "02:15", "02:30", "02:45")]
AGAIN = [f"2018-10-28 {t}" for t in ("02:00", "02:15", "02:30", "02:45", "03:00")]
START = int(datetime(2018, 10, 27, 23, 45, tzinfo=UTC).timestamp())
QUARTERS = [START + 900 * i for i in range(10)]

UNDERSTOOD = {
    "forward": ("Europe/Berlin", BERLIN + AGAIN, QUARTERS),
    "backward": ("Europe/Berlin", (BERLIN + AGAIN)[::-1], QUARTERS[::-1]),
    "backward, half-hourly": (
        "Europe/London",
        [f"2018-10-28 {t}" for t in ("02:00", "01:30", "01:00", "01:30", "01:00", "00:30")],
        [1540692000 - 1800 * i for i in range(6)],
    ),
    "backward, every 15 minutes": (
        "America/New_York",
        [
            f"2020-11-01 {t}"
            for t in ["02:00", "01:45", "01:30", "01:15", "01:00", "01:45", "01:30", "01:15", "01:00", "00:45"]
        ],
        [1604214000 - 900 * i for i in range(10)],
    ),
    "hourly, forward": (
        "America/New_York",
        [f"2020-11-01 {t}" for t in ("00:00", "01:00", "01:00", "02:00")],
        [1604203200 + 3600 * i for i in range(4)],
    ),
    "hourly, backward": (
        "America/New_York",
        [f"2020-11-01 {t}" for t in ("02:00", "01:00", "01:00", "00:00")],
        [1604214000 - 3600 * i for i in range(4)],
    ),
    "half an hour, Lord Howe": (
        "Australia/Lord_Howe",
        [f"2024-04-07 {t}" for t in ("01:15", "01:30", "01:45", "01:30", "01:45", "02:00")],
        [1712412000 + 900 * (i + 1) for i in range(6)],
    ),
    "no row before it": ("Europe/Berlin", BERLIN[1:] + AGAIN, QUARTERS[1:]),
    "no row after it": ("Europe/Berlin", BERLIN + AGAIN[:-1], QUARTERS[:-1]),
    "rows missing in the first pass": ("Europe/Berlin", BERLIN[:3] + AGAIN, QUARTERS[:3] + QUARTERS[5:]),
    "rows missing in the second": ("Europe/Berlin", BERLIN + AGAIN[:2] + AGAIN[-1:], QUARTERS[:7] + QUARTERS[9:]),
    "at midnight, Havana": (
        "America/Havana",
        ["2024-11-02 23:30", "2024-11-03 00:00", "2024-11-03 00:30", "2024-11-03 00:00", "2024-11-03 00:30"],
        [1730604600 + 1800 * i for i in range(5)],
    ),
}
REFUSED = {
    "interval ends": ("Europe/Zurich", [*BERLIN[1:], "2018-10-28 03:00", *AGAIN[1:], "2018-10-28 03:15"]),
    "interval ends, hourly": ("Europe/Berlin", [f"2018-10-28 {t}:00" for t in ("01", "02", "03", "03", "04")]),
    "pairs": ("Europe/Berlin", sorted(BERLIN + AGAIN)),
    "pairs, backward": ("Europe/Berlin", sorted(BERLIN + AGAIN)[::-1]),
    "shuffled": ("Europe/Berlin", [*BERLIN[::2], *AGAIN[::-1], *BERLIN[1::2]]),
    "first rows apart": ("Europe/Berlin", [*AGAIN[1:3], *BERLIN, AGAIN[0], *AGAIN[3:]]),
    "three times": ("Europe/Berlin", BERLIN + BERLIN[1:] + AGAIN),
    "the hour alone, hourly": ("America/New_York", ["2020-11-01 01:00"] * 2),
    "three of the hour alone": ("America/New_York", [f"2020-11-01 {t}" for t in ("01:00", "01:30", "01:00")]),
    "a step back alone": ("America/New_York", ["2020-11-01 01:15", "2020-11-01 01:00"]),
    "days backward": (
        "Atlantic/Azores",
        ["2024-10-27 00:00", "2024-10-27 00:30", "2024-10-27 00:00", "2024-10-27 00:30", "2024-10-26 00:00"],
    ),
}


def long_frame(stamps):
    return pd.DataFrame({"timestamp": pd.to_datetime(stamps), "name": "load", "value": np.arange(len(stamps)) * 1.0})


def stored(url):
    with connect(url) as temporis:
        frame = temporis.data_source("store_metrics").read().sort_values("value")
    return [int(moment.timestamp()) for moment in frame["timestamp"]]


def ingested(url, tmp_path, stamps, *options):
    path = tmp_path / "load.csv"
    path.write_text("timestamp,load\n" + "".join(f"{stamp},{i}\n" for i, stamp in enumerate(stamps)))
    return CliRunner().invoke(main, ["ingest", str(path), "--data-source", "store_metrics", "--url", url, *options])


@pytest.mark.parametrize(("zone", "stamps", "expected"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_rows_in_order_of_time_are_understood(zone, stamps, expected, store_url, tmp_path):
    """Forward or backward, in Python and from a file, every row has its own instant."""
    found = observe(long_frame(stamps), ObservationOptions(timezone=zone, ambiguous="infer"))
    assert found.timestamps.tolist() == expected
    done = ingested(store_url, tmp_path, stamps, "--timezone", zone, "--ambiguous", "infer")
    assert done.exit_code == 0, done.output
    assert stored(store_url) == expected


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_an_asset_may_return_rows_of_either_order(store_url, order):
    """The IO manager reads the frame as upsert does."""
    zone, stamps, expected = UNDERSTOOD[order]
    assert through_dagster(store_url, long_frame(stamps), timezone=zone, ambiguous="infer") == (True, "")
    assert stored(store_url) == expected


@pytest.mark.parametrize(("zone", "stamps"), REFUSED.values(), ids=REFUSED)
def test_other_orders_are_refused_without_advice_that_loses_rows(zone, stamps, store_url, tmp_path):
    """Neither "take all for one pass" nor "drop" where both passes are there; and what would work is said."""
    frame = long_frame(stamps)
    for layout in (frame, frame.set_index("timestamp")[["value"]].rename(columns={"value": "load"})):
        with pytest.raises(InvalidObservationsError) as raised:
            observe(layout, ObservationOptions(timezone=zone, ambiguous="infer"))
        message = str(raised.value)
        assert "cannot be inferred" in message
        assert "tz_localize" in message
        assert "subtract an interval" in message
        assert "ambiguous=True" not in message
        assert "drop" not in message
    done = ingested(store_url, tmp_path, stamps, "--timezone", zone, "--ambiguous", "infer")
    assert done.exit_code == 3
    assert "offset from UTC" in done.output
    assert not any(words in done.output for words in ("--ambiguous true", "--on-invalid drop", "tz_localize"))


def test_an_hour_that_is_there_once_is_for_the_caller_to_say():
    """Then, and only then, one word for all loses nothing, and it is said."""
    once = long_frame(BERLIN + AGAIN[-1:])
    infer = ObservationOptions(timezone="Europe/Berlin", ambiguous="infer")
    with pytest.raises(InvalidObservationsError, match=r"only one of its two passes.*ambiguous=True for the first"):
        observe(once, infer)
    assert len(observe(once, ObservationOptions(timezone="Europe/Berlin", ambiguous=True))) == len(once)
    beside = pd.concat([once, long_frame(sorted(BERLIN + AGAIN)).assign(name="other")])
    with pytest.raises(InvalidObservationsError) as raised:
        observe(beside, infer)
    assert "ambiguous=True" not in str(raised.value)


@pytest.mark.parametrize("interval", [15, 60])
def test_ends_of_intervals_are_right_once_the_interval_is_subtracted(interval):
    """What the message advises works, in autumn and in spring, and nothing is lost."""
    for day in ("2018-10-28", "2018-03-25"):
        starts = pd.date_range(day, periods=8 * 60 // interval, freq=f"{interval}min", tz="Europe/Berlin")
        ends = starts.tz_localize(None) + pd.Timedelta(minutes=interval)
        subtracted = long_frame(ends - pd.Timedelta(minutes=interval))
        found = observe(subtracted, ObservationOptions(timezone="Europe/Berlin", ambiguous="infer"))
        assert found.timestamps.tolist() == [int(start.timestamp()) for start in starts]
        with pytest.raises(InvalidObservationsError, match="subtract an interval from each first") as raised:
            observe(long_frame(ends), ObservationOptions(timezone="Europe/Berlin", ambiguous="infer"))
        assert "on_invalid" not in str(raised.value)


@pytest.mark.parametrize("ambiguous", ["raise", "NaT", "infer"])
def test_the_hour_is_not_told_to_be_dropped(ambiguous):
    """Rows of the repeated and of the skipped hour are good observations: the way out is another one."""
    for stamps in (sorted(BERLIN + AGAIN), ["2018-03-25 02:30"]):
        with pytest.raises(InvalidObservationsError) as raised:
            observe(long_frame(stamps), ObservationOptions(timezone="Europe/Berlin", ambiguous=ambiguous))
        assert "on_invalid" not in str(raised.value)


# Aware datetimes that cannot be

BERLIN_ZONE, PYTZ = ZoneInfo("Europe/Berlin"), pytz.timezone("Europe/Berlin")
IMPOSSIBLE = {
    "skipped": (datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN_ZONE), "skipped that time in Europe/Berlin"),
    "skipped, second fold": (datetime(2024, 3, 31, 2, 30, fold=1, tzinfo=BERLIN_ZONE), "skipped that time"),
    "the first second of the gap": (datetime(2024, 3, 31, 2, tzinfo=BERLIN_ZONE), "2024-03-31T03:00:00"),
    "the last of the gap": (datetime(2024, 3, 31, 2, 59, 59, tzinfo=BERLIN_ZONE), "skipped that time"),
    "New York": (datetime(2024, 3, 10, 2, 15, tzinfo=ZoneInfo("America/New_York")), "America/New_York"),
    "half an hour": (datetime(2024, 10, 6, 2, 15, tzinfo=ZoneInfo("Australia/Lord_Howe")), "Lord_Howe"),
    "a whole day": (datetime(2011, 12, 30, 12, tzinfo=ZoneInfo("Pacific/Apia")), "Pacific/Apia"),
    "dateutil": (datetime(2024, 3, 31, 2, 30, tzinfo=dateutil_tz.gettz("Europe/Berlin")), "skipped that time"),
    "pytz attached": (datetime(2024, 6, 20, 10, tzinfo=PYTZ), r"\+00:53, which Europe/Berlin does not have"),
    "pytz attached, winter": (datetime(2024, 1, 20, 10, tzinfo=PYTZ), "zone.localize"),
    "pytz attached, Tokyo": (datetime(2024, 6, 20, 10, tzinfo=pytz.timezone("Asia/Tokyo")), r"\+09:19"),
    "pytz attached, New York": (datetime(2024, 6, 20, 10, tzinfo=pytz.timezone("America/New_York")), "-04:56"),
    "pytz, skipped": (PYTZ.localize(datetime(2024, 3, 31, 2, 30)), "skipped that time"),
    "pytz, offset of the other season": (
        datetime(2024, 6, 20, 10, tzinfo=PYTZ.localize(datetime(2024, 1, 1)).tzinfo),
        r"\+01:00, which Europe/Berlin does not have at that time \(\+02:00\)",
    ),
}
POSSIBLE = {
    "summer": datetime(2024, 6, 20, 10, tzinfo=BERLIN_ZONE),
    "first pass": datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN_ZONE),
    "second pass": datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN_ZONE),
    "after the gap": datetime(2024, 3, 31, 3, tzinfo=BERLIN_ZONE),
    "before the gap": datetime(2024, 3, 31, 1, 59, 59, tzinfo=BERLIN_ZONE),
    "of 1850": datetime(1850, 6, 20, 10, tzinfo=BERLIN_ZONE),
    "pytz, localized": PYTZ.localize(datetime(2024, 6, 20, 10)),
    "pytz, UTC": datetime(2024, 6, 20, 10, tzinfo=pytz.utc),
    "pytz, fixed": datetime(2024, 6, 20, 10, tzinfo=pytz.FixedOffset(90)),
    "dateutil": datetime(2024, 6, 20, 10, tzinfo=dateutil_tz.gettz("Europe/Berlin")),
    "dateutil, second pass": datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=dateutil_tz.gettz("Europe/Berlin")),
    "fixed": datetime(2024, 3, 31, 2, 30, tzinfo=timezone(timedelta(hours=1, minutes=7))),
    "the first moment": datetime(1, 1, 1, tzinfo=UTC),
}


class OffsetOnly(tzinfo):
    """A zone as small as it may be: it has no idea of summer time."""

    def __init__(self, offset):
        self.offset = offset

    def utcoffset(self, _moment):
        if isinstance(self.offset, Exception):
            raise self.offset
        return self.offset

    def dst(self, _moment):
        return None


@pytest.mark.parametrize(
    ("offset", "words"),
    [(timedelta(hours=1), None), (None, "has no time zone"), (OSError("no file"), "no.* give its offset")],
)
def test_a_zone_of_the_callers_own(offset, words, store_url):
    """One that gives an offset and nothing else is enough; one that raises is a fault of the row, and no traceback."""
    moment = datetime(2024, 6, 20, 10, tzinfo=OffsetOnly(offset))
    frame = pd.DataFrame({"timestamp": pd.Series([moment], dtype=object), "load": 1.0})
    with connect(store_url) as temporis:
        source = temporis.data_source("store_metrics")
        if words is None:
            assert observe(frame).timestamps.tolist() == [1718874000]
            assert source.read(start=moment).empty
            return
        with pytest.raises(InvalidObservationsError, match=words):
            source.check(frame)
        with pytest.raises(ConfigurationError, match="has no time zone"):
            source.read(start=moment)


@pytest.mark.parametrize(("moment", "words"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_aware_datetime_that_cannot_be_is_refused_with_the_reason(moment, words, store_url):
    """As a cell among others, alone, in an asset; and as a bound of read."""
    fine = datetime(2024, 6, 20, 10, tzinfo=UTC)
    column = pd.Series([fine, moment, None], dtype=object)
    frame = pd.DataFrame({"timestamp": column, "name": "load", "value": 1.0})
    with pytest.raises(InvalidObservationsError, match=words) as raised:
        observe(frame.iloc[:2])
    assert raised.value.rows["position"].tolist() == [1]
    assert "on_invalid" not in str(raised.value)
    assert len(observe(frame.iloc[:2], ObservationOptions(on_invalid="drop")).dropped_rows) == 1
    success, said = through_dagster(store_url, frame.iloc[:2])
    assert not success
    assert moment.tzinfo is not None
    with connect(store_url) as temporis, pytest.raises(ConfigurationError, match=words):
        temporis.data_source("store_metrics").read(start=moment)
    assert "timestamp" in said


@pytest.mark.parametrize("moment", POSSIBLE.values(), ids=POSSIBLE)
def test_an_aware_datetime_that_can_be_is_exactly_that_instant(moment, store_url):
    """Whatever made its zone."""
    frame = pd.DataFrame({"timestamp": pd.Series([moment], dtype=object), "load": 1.0})
    expected = (moment.replace(tzinfo=None) - moment.utcoffset() - datetime(1970, 1, 1)) // timedelta(seconds=1)
    assert observe(frame).timestamps.tolist() == [expected]
    with connect(store_url) as temporis:
        assert temporis.data_source("store_metrics").read(start=moment).empty
