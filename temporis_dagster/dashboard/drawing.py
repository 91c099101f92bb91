"""Drawing: sparklines and plots as SVG, which need no JavaScript.

Comes in: points. Goes out: the coordinates of an SVG, and the words that stand for it.
Never: makes markup: the templates do, and escape what they show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from temporis_dagster.dashboard.formatting import short_number
from temporis_dagster.wording import counted

WIDTH, HEIGHT, MARGIN = 120, 28, 2
PLOT_WIDTH, PLOT_HEIGHT, PLOT_MARGIN = 1_000, 300, 4


class Sparkline(NamedTuple):
    """The outline of a series.

    Attributes:
        points: The points of a polyline in a box of ``WIDTH`` by ``HEIGHT``.
        words: What it shows, for those who do not see it.
    """

    points: str
    words: str


class PlottedLine(NamedTuple):
    """One series of a plot.

    Attributes:
        band: The points of a polygon between the lowest and the highest values.
        line: The points of a polyline through the last values.
    """

    band: str
    line: str


class Plot(NamedTuple):
    """A plot of one or several series, in a box of ``PLOT_WIDTH`` by ``PLOT_HEIGHT``.

    Attributes:
        lines: The series, in the order in which they were given.
        lowest: The value at the lower edge.
        highest: The value at the upper edge.
    """

    lines: tuple[PlottedLine, ...]
    lowest: float
    highest: float


def sparkline(timestamps: Sequence[int], values: Sequence[float]) -> Sparkline:
    """Draw the outline of a series.

    Args:
        timestamps: Unix seconds, in order.
        values: The value at each of them.

    Examples:
        >>> sparkline([0, 10], [1.0, 3.0])
        Sparkline(points='2,26 118,2', words='2 points from 1 to 3, the last is 3')
    """
    if not timestamps:
        return Sparkline("", "no points")
    points = list(zip(timestamps, values, strict=True))
    box = _Box(timestamps[0], timestamps[-1], min(values), max(values), (WIDTH, HEIGHT, MARGIN))
    low, high, last = map(short_number, (min(values), max(values), values[-1]))
    return Sparkline(box.drawn(points), f"{counted(len(points), 'point')} from {low} to {high}, the last is {last}")


def plot(start: int, end: int, lines: Sequence[Sequence[tuple[int, float, float, float]]]) -> Plot:
    """Draw several series over one range of time.

    Args:
        start: The Unix second at the left edge.
        end: The Unix second at the right edge.
        lines: For each series, its buckets: Unix seconds, and the lowest, the highest and the last value.
    """
    lowest = min((low for line in lines for _, low, _, _ in line), default=0.0)
    highest = max((high for line in lines for _, _, high, _ in line), default=0.0)
    box = _Box(start, end, lowest, highest, (PLOT_WIDTH, PLOT_HEIGHT, PLOT_MARGIN))
    drawn = []
    for line in lines:
        upper = [(at, high) for at, _, high, _ in line]
        lower = [(at, low) for at, low, _, _ in reversed(line)]
        drawn.append(PlottedLine(box.drawn([*upper, *lower]), box.drawn([(at, last) for at, _, _, last in line])))
    return Plot(tuple(drawn), lowest, highest)


class _Box:
    """Where points lie in a box: time runs to the right, values upwards."""

    def __init__(self, start: float, end: float, low: float, high: float, shape: tuple[int, int, int]) -> None:
        self._start, self._low, (width, height, self._margin) = start, low, shape
        self._across = (width - 2 * self._margin, end - start)
        self._up = (height - 2 * self._margin, high / 2 - low / 2)  # half of it: the whole may be more than a float has

    def drawn(self, points: Sequence[tuple[int, float]]) -> str:
        """Return the points of a polyline. A single one becomes a short line, which can be seen."""
        if len(points) == 1:
            points = [*points, *points]
            return f"{self._place(*points[0], -1)} {self._place(*points[1], 1)}"
        return " ".join(self._place(at, value) for at, value in points)

    def _place(self, at: float, value: float, shift: int = 0) -> str:
        width, seconds = self._across
        height, half = self._up
        right = width * ((at - self._start) / seconds if seconds else 0.5)
        up = height * ((value / 2 - self._low / 2) / half if half else 0.5)
        return f"{_short(self._margin + right + shift)},{_short(self._margin + height - up)}"


def _short(coordinate: float) -> str:
    return f"{coordinate:.1f}".removesuffix(".0")
