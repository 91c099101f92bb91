"""How weather affects departures: mean delay and cancelled flights as visibility falls and wind rises.

In: both hourly assets, read back from the data source for the whole year. Out: a plot and two tables, as metadata.
Never: writes an observation.
"""

from itertools import pairwise

import dagster as dg
import pandas as pd

from nyc_airports.charts import weather_chart
from nyc_airports.dataset import GROUP

# Each bin has some hundred flights. A wind of 1,048 mph (EWR, 12 February) is a broken sensor, and in no bin.
BIN_EDGES: dict[str, list[float]] = {
    "visibility_mi": [0, 0.5, 1, 2, 5, 9, 10],
    "wind_speed_mph": [0, 5, 10, 15, 20, 25, 30, 100],
}


CHANGED = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())


@dg.asset(group_name=GROUP, kinds={"pandas", "matplotlib"}, automation_condition=CHANGED)
def weather_impact(departures: pd.DataFrame, weather: pd.DataFrame) -> dg.MaterializeResult[None]:
    """Mean departure delay and share of cancelled flights, by visibility and wind speed at the airport."""
    hours = by_airport(departures).join(by_airport(weather), how="inner")
    impact = {measure: by_bin(hours, measure) for measure in BIN_EDGES}
    return dg.MaterializeResult(
        metadata={
            "plot": dg.MetadataValue.md(weather_chart(impact)),
            "by_visibility": table(impact["visibility_mi"]),
            "by_wind_speed": table(impact["wind_speed_mph"]),
            "flights": int(hours["departures"].sum() + hours["cancellations"].sum()),
        }
    )


def by_airport(observations: pd.DataFrame) -> pd.DataFrame:
    """Turn series named `measure__airport` into one row per hour and airport, with one column per measure."""
    names = observations["name"].str.split("__", expand=True)
    cells = observations.assign(measure=names[0], airport=names[1])
    return cells.pivot(index=["timestamp", "airport"], columns="measure", values="value")  # noqa: PD010  one value each


def by_bin(hours: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Compute flights, mean delay and cancelled share per bin and airport; hours are weighted by their flights."""
    edges = BIN_EDGES[measure]
    labels = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    bins = pd.cut(hours[measure], edges, labels=labels, include_lowest=True)
    minutes = hours.assign(delay_min=hours["mean_delay_min"] * hours["departures"])
    sums = minutes.groupby([bins, "airport"], observed=True)[["departures", "cancellations", "delay_min"]].sum()
    flights = sums["departures"] + sums["cancellations"]
    return pd.DataFrame(
        {
            "flights": flights.astype("int64"),
            "mean_delay_min": sums["delay_min"] / sums["departures"],
            "cancelled_pct": 100 * sums["cancellations"] / flights,
        }
    )


def table(impact: pd.DataFrame) -> dg.TableMetadataValue:
    """Return the same figures as a table for the UI."""
    rows = impact.round(1).reset_index().to_dict("records")
    return dg.MetadataValue.table([dg.TableRecord({str(name): cell for name, cell in row.items()}) for row in rows])
