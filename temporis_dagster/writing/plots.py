"""A small plot of what a run wrote, for its materialization (extra ``[plots]``).

Comes in: observations. Goes out: Markdown with the image in it, some ten kilobytes at most, as Dagster keeps it
permanently.
Never: opens a window, touches disk, or lets a series name act as markup: names are plain text in the image only.
"""

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Codes, Floats, Int64s
from temporis_dagster.data_source.reading.plot import LARGEST_DRAWN, drawable, time_axis
from temporis_dagster.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 8
"""If there are more series than this, the plot shows the number of observations over time instead."""

SLICES = 300
"""A line is thinned to the smallest and the largest value in each of this many slices of time, so peaks stay."""

MOST_BARS = 120
COLOURS = 16
NOTHING = "No observations."


def plot_of(observations: Observations) -> str:
    """Draw one line per series or, if there are too many, the number of observations over time.

    Args:
        observations: What was written.

    Returns:
        Markdown: one image (PNG, about 800 by 300 pixels), or a sentence if there is nothing to draw.
    """
    if not len(observations):
        return NOTHING
    from matplotlib.figure import Figure  # without pyplot: no window, no global state, safe in threads

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    used = np.unique(observations.codes)
    if len(used) <= MOST_LINES:
        _lines(figure, axes, observations, used)
    else:
        _density(axes, observations)
    axes.set_title(f"{counted(len(observations), 'observation')} of {counted(len(used), 'series')} (UTC)", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.margins(x=0)  # also because no axis goes beyond the years 1 to 9999
    time_axis(axes)
    return _markdown(figure)


def _lines(figure: "Figure", axes: "Axes", observations: Observations, used: Codes) -> None:
    handles = []
    for code in used.tolist():
        own = observations.codes == code
        stamps, values = thinned(observations.timestamps[own], observations.values[own])
        style = ".-" if len(stamps) <= 2 * MOST_LINES else "-"
        handles += axes.plot(stamps.astype("datetime64[s]"), values, style, linewidth=0.9)
    numbers = [str(number) for number in range(len(handles))]  # a legend leaves out labels that begin with "_"
    legend = figure.legend(handles, numbers, fontsize=8, loc="outside right upper", frameon=False)
    for text, code in zip(legend.get_texts(), used.tolist(), strict=True):
        text.set_parse_math(False)  # a name may have dollars
        text.set_text(drawable(observations.names[code]))


def _density(axes: "Axes", observations: Observations) -> None:
    moments = np.unique(observations.timestamps)
    step = int(np.median(np.diff(moments))) if len(moments) > 1 else 1
    width = step * -(-int(moments[-1] - moments[0] + 1) // (step * MOST_BARS))  # whole steps: even data look even
    edges = np.append(np.arange(moments[0], moments[-1] + 1, width), moments[-1] + 1)
    counts, _ = np.histogram(observations.timestamps, edges)
    axes.stairs(counts, edges.astype("datetime64[s]"), fill=True)
    axes.set_ylabel("observations")


def thinned(timestamps: Int64s, values: Floats) -> tuple[Int64s, Floats]:
    """Return the smallest and the largest value in each slice of time, in the order of their timestamps.

    Args:
        timestamps: Unix seconds, in any order.
        values: One per timestamp.
    """
    order = np.argsort(timestamps, kind="stable")
    timestamps, values = timestamps[order], np.clip(values[order], -LARGEST_DRAWN, LARGEST_DRAWN)
    if len(timestamps) <= 2 * SLICES:
        return timestamps, values
    slices = np.searchsorted(np.linspace(timestamps[0], timestamps[-1], SLICES + 1)[1:-1], timestamps, side="right")
    by_value = np.lexsort((values, slices))
    firsts = np.flatnonzero(np.diff(slices[by_value], prepend=-1))
    lasts = np.append(firsts[1:], len(by_value)) - 1
    kept = np.unique(by_value[np.concatenate((firsts, lasts))])
    return timestamps[kept], values[kept]


def _markdown(figure: "Figure") -> str:
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(small, format="png", optimize=True)
    return f"![observations](data:image/png;base64,{base64.b64encode(small.getvalue()).decode()})"
