"""Draws the report's chart.

In: one table per weather measure. Out: Markdown with a small PNG in it: Dagster keeps metadata permanently.
Never: touches disk, or keeps state between charts (pyplot would).
"""

import base64
import io

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

X_LABELS = {"visibility_mi": "visibility (miles)", "wind_speed_mph": "wind speed (mph)"}
Y_LABELS = {"mean_delay_min": "mean departure delay (min)", "cancelled_pct": "cancelled flights (%)"}
COLOURS = {"EWR": "#0072b2", "JFK": "#d55e00", "LGA": "#009e73"}


def weather_chart(impact: dict[str, pd.DataFrame]) -> str:
    """Draw one column of panels per weather measure, one row per consequence, one line per airport."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(len(Y_LABELS), len(impact), sharex="col", sharey="row", squeeze=False)
    for column, (measure, table) in enumerate(impact.items()):
        for row, consequence in enumerate(Y_LABELS):
            _lines(panels[row, column], table[consequence].unstack("airport"))  # noqa: PD010  one value each
        panels[-1, column].set_xlabel(X_LABELS[measure])
    for row, label in enumerate(Y_LABELS.values()):
        panels[row, 0].set_ylabel(label)
    panels[0, 0].legend(title="from", frameon=False)
    figure.suptitle("Departures in bad weather, New York 2013: later, and more often cancelled")
    return as_markdown(figure)


def _lines(axes: Axes, by_airport: pd.DataFrame) -> None:
    for airport in by_airport.columns:
        axes.plot(by_airport.index.astype(str), by_airport[airport], "o-", color=COLOURS[airport], label=airport)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def as_markdown(figure: Figure) -> str:
    """Turn the figure into text that Dagster's UI shows as an image. With few colours, it is a third of the size."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return f"![chart](data:image/png;base64,{base64.b64encode(small.getvalue()).decode()})"
