"""The plot of what is stored: one line per series, however many observations there are (extra ``[plots]``).

Comes in: rows in the order of time, batch by batch. Goes out: matplotlib's Axes with the lines on them.
Never: holds more than a batch and a few observations of each series per slice of time; draws a line across a gap; lets
the name of a series act as markup; or imports matplotlib before a plot is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from temporis_dagster.contract import FIRST_TIMESTAMP, TIMESTAMP_LIMIT
from temporis_dagster.data_source.observations.model import Codes, Floats, Int64s
from temporis_dagster.data_source.reading.rows import Rows
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import MOST_SHOWN, agreeing, counted, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SLICES = 1_000
"""A plot is about as many pixels wide. In each slice of time, the first, last, smallest and largest value of a series
are kept: a line through them covers the same pixels as a line through all."""

ALL_KEPT = 20_000
"""Up to this many observations, all are drawn."""

LARGEST_DRAWN = 1e100
"""Values beyond this are drawn at this height: axes have no room for them."""

LABEL_CHARACTERS = 40
REMARK_CHARACTERS = 100

BINS_PER_DOUBLING = 32
BINS = 64 * BINS_PER_DOUBLING
"""Distances between neighbouring observations are counted by their logarithm, to two percent."""

USUAL = 0.9
"""What share of a series' distances is taken to be usual: at business days, four in five are one day."""

LONGER = 1.5
"""A distance that is longer than the usual ones by this factor is a gap: at a regular series, one missing value."""


@dataclass(frozen=True, eq=False)
class Line:
    """What is drawn of one series.

    Attributes:
        name: The series.
        timestamps: Unix seconds, ascending.
        values: One per timestamp; NaN where a gap begins.
        alone: The places of observations between two gaps, where there is no line to be seen.
    """

    name: str
    timestamps: Int64s
    values: Floats
    alone: Sequence[int]


class Thinned:
    """What is kept of many observations, so that their lines look as if all were drawn.

    Args:
        names: The series, in the order in which they are drawn.
        start: The first Unix second of the plot.
        end: The Unix second after its last one.
    """

    def __init__(self, names: Sequence[str], start: int, end: int) -> None:
        self.names, self._start, self._end = names, start, max(end, start + 1)
        self._places = {name: place for place, name in enumerate(names)}
        self._codes = np.empty(0, np.int64)
        self._timestamps, self._values = np.empty(0, np.int64), np.empty(0)
        self._last = np.full(len(names), np.iinfo(np.int64).min)
        self._distances = np.zeros((len(names), BINS), np.int64)
        self._is_thinned = False

    @property
    def span(self) -> tuple[int, int]:
        """The first Unix second of the plot, and the one after its last."""
        return self._start, self._end

    def add(self, rows: Rows) -> None:
        """Add the next observations, none of which is earlier than those before."""
        places = np.array([self._places.get(name, -1) for name in rows.names], np.int64)
        codes = places[rows.codes]
        self._count_distances(rows.timestamps, codes)
        self._codes = np.concatenate([self._codes, codes])
        self._timestamps = np.concatenate([self._timestamps, rows.timestamps])
        self._values = np.concatenate([self._values, np.clip(rows.values, -LARGEST_DRAWN, LARGEST_DRAWN)])
        if len(self._codes) > ALL_KEPT:
            self._thin()

    def _count_distances(self, timestamps: Int64s, codes: Codes) -> None:
        order = np.argsort(codes, kind="stable")
        timestamps, codes = timestamps[order], codes[order]
        is_first = np.diff(codes, prepend=-1) != 0
        before = np.concatenate([timestamps[:1], timestamps[:-1]])
        before[is_first] = self._last[codes[is_first]]
        self._last[codes] = timestamps  # of several, the last one stays
        known = before != np.iinfo(np.int64).min
        bins = np.log2(np.maximum((timestamps - before)[known], 1)) * BINS_PER_DOUBLING
        np.add.at(self._distances, (codes[known], bins.astype(np.int64)), 1)

    def _thin(self) -> None:
        self._is_thinned = True
        slices = self._slices(self._timestamps)
        cells = self._codes * SLICES + slices
        by_time, by_value = np.argsort(cells, kind="stable"), np.lexsort((self._values, cells))
        firsts = np.flatnonzero(np.diff(cells[by_time], prepend=-1))
        lasts = np.append(firsts[1:], len(cells)) - 1
        kept = np.unique(np.concatenate([by_time[firsts], by_time[lasts], by_value[firsts], by_value[lasts]]))
        self._codes, self._timestamps, self._values = self._codes[kept], self._timestamps[kept], self._values[kept]

    def _slices(self, timestamps: Int64s) -> Int64s:
        share = (timestamps - float(self._start)) * (SLICES / (float(self._end) - float(self._start)))
        return np.clip(share.astype(np.int64), 0, SLICES - 1)

    def lines(self, gap_s: float | None = None) -> list[Line]:
        """Return the line of each series.

        Args:
            gap_s: No line is drawn over a distance of more than this many seconds; None for what is usual in a series.
        """
        return [self._line(place, gap_s) for place in range(len(self.names))]

    def _line(self, place: int, gap_s: float | None) -> Line:
        own = self._codes == place
        timestamps, values = self._timestamps[own], self._values[own]
        is_gap = np.diff(timestamps) > (self._longest_line(place) if gap_s is None else gap_s)
        if self._is_thinned:  # inside a slice, what is between two kept observations may have been left out
            is_gap &= np.diff(self._slices(timestamps)) > 0
        gaps = np.flatnonzero(is_gap) + 1
        starts = np.concatenate([[0], gaps]) if len(timestamps) else gaps
        alone = np.flatnonzero(np.diff(np.append(starts, len(timestamps))) == 1)
        return Line(
            self.names[place],
            np.insert(timestamps, gaps, timestamps[gaps]),
            np.insert(values, gaps, np.nan),
            (starts[alone] + alone).tolist(),  # one NaN has been inserted for each gap before
        )

    def _longest_line(self, place: int) -> float:
        """Return the longest distance over which a line is drawn, in seconds."""
        so_far = np.cumsum(self._distances[place])
        if not so_far[-1]:
            return 0.0
        usual = int(np.searchsorted(so_far, np.floor(USUAL * (so_far[-1] - 1)), side="right"))
        return float(LONGER * 2.0 ** ((usual + 1) / BINS_PER_DOUBLING))


def thinned(batches: Iterable[Rows], names: Sequence[str], start: int | None, end: int) -> Thinned | None:
    """Return what is kept of the rows in all batches; None if there are none.

    Args:
        batches: The rows, in the order of time.
        names: The series, in the order in which they are drawn.
        start: The first Unix second of the plot; None for the first one that has a row.
        end: The Unix second after its last one.
    """
    kept = None
    for batch in batches:
        kept = kept or Thinned(names, int(batch.timestamps[0]) if start is None else start, end)
        kept.add(batch)
    return kept


def ensure_matplotlib() -> None:
    """Check that plots can be made here.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ConfigurationError(
            f"plot() needs matplotlib, which cannot be imported ({error}). Install it with:"
            " pip install 'temporis-dagster[plots]'"
        ) from None


def new_axes() -> Axes:
    """Return the Axes of a new figure, which a notebook shows below the cell."""
    from matplotlib import pyplot as plt

    axes: Axes = plt.subplots(figsize=(9, 3.5), layout="constrained")[1]
    return axes


def draw(ax: Axes, lines: Sequence[Line], title: str, span: tuple[int, int] | None, remarks: Sequence[str]) -> None:
    """Draw lines with a legend.

    Args:
        ax: Where to draw them.
        lines: What to draw.
        title: What the plot shows.
        span: The first Unix second of the plot, and the one after its last; None if there is nothing to show.
        remarks: What the plot does not show.
    """
    had = ax.get_xlim() if ax.has_data() else None
    handles: list[Any] = []
    for line in lines:
        stamps = line.timestamps.astype("datetime64[s]")
        handles += ax.plot(stamps, line.values, linewidth=1.0)
        if line.alone:
            handles[-1].set(marker=".", markevery=line.alone)
    if handles:
        numbers = [str(number) for number in range(len(handles))]  # a legend leaves out labels that begin with "_"
        legend = ax.legend(handles, numbers, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
        for text, line, handle in zip(legend.get_texts(), lines, handles, strict=True):
            handle.set_label(line.name)
            text.set_parse_math(False)  # a name may have dollars
            text.set_text(drawable(line.name))
    else:
        ax.text(0.5, 0.5, "No observations.", transform=ax.transAxes, ha="center", va="center")
        ax.set_yticks([])
    ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.3)
    if span is not None:
        ax.set_xlim(*np.array(_drawable_span(*span)).astype("datetime64[s]"))
        if had is not None:  # by an earlier call, or by the caller
            ax.set_xlim(min(had[0], ax.get_xlim()[0]), max(had[1], ax.get_xlim()[1]))
        time_axis(ax)
    else:
        ax.set_xticks([])
    ax.xaxis.label.set_parse_math(False)
    ax.set_xlabel("\n".join(["UTC", *(line for remark in remarks for line in wrap(remark, REMARK_CHARACTERS))]))


def _drawable_span(start: int, end: int) -> tuple[int, int]:
    """Return a span of time that matplotlib has dates for, and that is not empty."""
    first = min(max(start, FIRST_TIMESTAMP), TIMESTAMP_LIMIT)
    last = min(max(end, FIRST_TIMESTAMP), TIMESTAMP_LIMIT)
    return (first, last) if last - first > 1 else (max(first - 1, FIRST_TIMESTAMP), last + 1)


def time_axis(ax: Axes) -> None:
    """Label the horizontal axis with times in UTC."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    ticks = AutoDateLocator(tz="UTC")  # type: ignore[no-untyped-call]  # matplotlib
    ax.xaxis.set_major_locator(ticks)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(ticks, tz="UTC"))  # type: ignore[no-untyped-call]  # matplotlib


def remarks_on(left_out: Sequence[str], empty: Sequence[str]) -> list[str]:
    """Say which series a plot does not show.

    Examples:
        >>> remarks_on(["wind"], ["solar", "hydro"])
        ['1 more series is left out: wind', 'without observations here: solar, hydro']
    """
    said = []
    if left_out:
        number = len(left_out)
        said.append(f"{counted(number, 'more series')} {agreeing(number, 'is', 'are')} left out: {_named(left_out)}")
    if empty:
        said.append(f"without observations here: {_named(empty)}")
    return said


def _named(names: Sequence[str]) -> str:
    return shortened([drawable(name) if place < MOST_SHOWN else name for place, name in enumerate(names)])


def drawable(name: str) -> str:
    r"""Return a name in characters that the font has, cut if it is long.

    Examples:
        >>> drawable("load $kW$ \u96fb\n")
        'load $kW$ ??'
    """
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    shown = "".join(character if ord(character) in known else "?" for character in name)
    return shown if len(shown) <= LABEL_CHARACTERS else f"{shown[: LABEL_CHARACTERS - 1]}…"
