"""RowDigest: equal for equal sets of rows, in any order and in any process, and for no others."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.data_source.observations import model as observations_model
from temporis_dagster.writing import row_digest
from temporis_dagster.writing.row_digest import RowDigest
from temporis_dagster.writing.versions import versions_of

NAMES = st.sampled_from(["a", "b", "é", "e\u0301", "ab", "Ω", "load\U0001f600"])
SECONDS = st.integers(-(2**31), 2**31)
BITS = st.floats(allow_nan=False, allow_infinity=False, width=64)
CONTENT = st.dictionaries(st.tuples(NAMES, SECONDS), BITS, max_size=12)


def digest(content):
    """The digest of {(name, second): value}."""
    rows = RowDigest(1)
    names = sorted({name for name, _ in content})
    columns = [np.array([second for _, second in content], dtype=np.int64), [names.index(name) for name, _ in content]]
    values = np.array(list(content.values()), dtype=np.float64)
    rows.add(np.zeros(len(content), dtype=np.int64), columns[0], np.array(columns[1], dtype=np.int16), names, values)
    return rows.of_all()


def bits(content):
    return {key: np.float64(value).tobytes() for key, value in content.items()}


@given(CONTENT, CONTENT, st.randoms(use_true_random=False))
def test_equal_exactly_when_the_content_is_equal_bit_for_bit(one, other, random):
    """The order of rows and of names does not matter; 0.0 is not -0.0."""
    shuffled = list(one.items())
    random.shuffle(shuffled)
    assert digest(dict(shuffled)) == digest(one)
    assert (digest(one) == digest(other)) == (bits(one) == bits(other))


@given(CONTENT.filter(bool), st.data())
def test_every_part_of_a_row_counts(content, data):
    """A moved row, another value, another name and a row less are all different contents."""
    name, second = data.draw(st.sampled_from(sorted(content)))
    value = content[name, second]
    rest = {key: each for key, each in content.items() if key != (name, second)}
    others = [
        rest,
        {**rest, (name, second + 60): value},
        {**rest, (name + "x", second): value},
        {**rest, (name, second): -value},
        {**rest, (name, second): np.nextafter(value, 0)},
    ]
    assert all(digest(other) != digest(content) for other in others if bits(other) != bits(content))


def test_values_that_change_places_are_another_content():
    """The sum of the rows does not hide that two of them were exchanged."""
    assert digest({("a", 0): 1.0, ("a", 60): 2.0}) != digest({("a", 0): 2.0, ("a", 60): 1.0})
    assert digest({("a", 0): 1.0, ("b", 0): 2.0}) != digest({("a", 0): 2.0, ("b", 0): 1.0})
    assert digest({("a", 0): 1.0, ("b", 60): 2.0}) != digest({("b", 0): 1.0, ("a", 60): 2.0})


def test_half_of_a_digest_is_already_as_good_as_chance():
    """Of 200,000 rows, as regular as they come, few share 32 bits of one number (by chance, 5), and none of both."""
    parts = []
    for value in range(200):
        rows = RowDigest(1_000)
        places = np.arange(1_000)
        rows.add(places, places * 3_600, np.zeros(1_000, np.int16), ["orders"], np.full(1_000, float(value)))
        parts.append(np.array([[int(each[:8], 16), int(each[16:24], 16)] for each in rows.of_each()]))
    found = np.concatenate(parts)
    twins = [len(found) - len(np.unique(found[:, number])) for number in (0, 1)]
    assert max(twins) < 25, twins
    assert len(np.unique(found, axis=0)) == len(found)


def test_each_bit_of_a_row_changes_half_of_the_digest():
    """One bit of a second or of a value: between 40 and 90 of the 128 bits change, 64 on average."""

    def of(second, value):
        return int(digest({("orders", second): value}), 16)

    changes = [(of(1 << bit, 1.0) ^ of(0, 1.0)).bit_count() for bit in range(31)]
    for bit in range(52):
        other = (np.array([1.0]).view(np.uint64) ^ np.uint64(1 << bit)).view(np.float64)[0]
        changes.append((of(0, other) ^ of(0, 1.0)).bit_count())
    assert min(changes) > 40
    assert max(changes) < 90
    assert 61 < np.mean(changes) < 67


HOURS = pd.date_range("2024-06-01", periods=300, freq="h", tz="UTC")
WIDE = pd.DataFrame({"b": np.arange(300) / 7, "a": np.arange(300.0)}, index=HOURS)
KNOWN = "9aa664fdbaa06617696fb0a0acc003ee"


def version(frame, **options):
    return versions_of(None, observe(frame, ObservationOptions(**options))).whole


@pytest.mark.parametrize(
    "frame",
    [
        WIDE,
        WIDE[["a", "b"]],
        WIDE[::-1],
        WIDE.set_axis(HOURS.tz_convert("Asia/Kathmandu")),
        WIDE.set_axis(HOURS.as_unit("ns")),
        WIDE.rename_axis("timestamp").reset_index().melt("timestamp", var_name="name").sample(frac=1, random_state=0),
        WIDE.rename_axis("timestamp").reset_index().melt("timestamp", var_name="name").astype({"name": "category"}),
        pd.concat([WIDE, WIDE[:5] + 1, WIDE[:5]]),
    ],
)
def test_the_layout_of_the_frame_does_not_matter(frame):
    """Long or wide, in any order, zone and resolution. The text is fixed: a release must not change every version."""
    assert version(frame) == KNOWN


def test_it_is_the_same_in_every_process_and_block_by_block(monkeypatch):
    """Another seed of Python's hash(), other blocks, rows added in two halves."""
    code = "from tests.dagster import test_row_digest as t; print(t.version(t.WIDE))"
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        )
        assert run.stdout.decode().strip() == KNOWN
    monkeypatch.setattr(row_digest, "CACHED_ROWS", 7)
    assert version(WIDE) == KNOWN
    assert observations_model.BLOCK_ROWS != 7
    observations = observe(WIDE, ObservationOptions())
    halves = RowDigest(1)
    for rows in (slice(0, 200), slice(200, None)):
        half = observations.take(rows)
        places = np.zeros(len(half), dtype=np.int64)
        halves.add(places, half.timestamps, half.codes, half.names, half.values)
    assert halves.of_all() == KNOWN


def test_rows_outside_the_windows_do_not_count():
    """A negative number is no window, and names without rows leave no trace."""
    rows, one, places = RowDigest(2), np.array([1.0, 2.0, 3.0]), np.array([1, -1, 0])
    rows.add(places, np.array([0, 60, 120]), np.array([0, 0, 1]), ["a", "b", "unused"], one)
    assert rows.of_each() == [digest({("b", 120): 3.0}), digest({("a", 0): 1.0})]
    assert rows.of_all() == digest({("a", 0): 1.0, ("b", 120): 3.0})


def test_nothing_has_a_digest_as_well():
    """An empty partition has one, and it is that of every empty partition."""
    assert digest({}) == "0" * 32
    assert RowDigest(0).of_all() == "0" * 32
    assert RowDigest(2).of_each() == ["0" * 32] * 2
