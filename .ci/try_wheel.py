"""Use the installed wheel the way its first user would, away from the source tree."""

import tempfile
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pandas as pd

import temporis_dagster
from temporis_dagster import TemporisIOManager, TemporisResource, connect, data_source_spec, temporis_asset

assert "site-packages" in temporis_dagster.__file__, temporis_dagster.__file__  # noqa: S101
assert version("temporis-dagster") == temporis_dagster.__version__  # noqa: S101
assert (Path(temporis_dagster.__file__).parent / "py.typed").exists()  # noqa: S101


@temporis_asset(data_source="store_metrics")
def orders() -> pd.DataFrame:
    hours = pd.date_range("2024-06-20", periods=24, freq="h", tz="UTC")
    return pd.DataFrame({"orders": range(24)}, index=hours)


url = f"sqlite:///{tempfile.mkdtemp()}/temporis.db"
temporis = TemporisResource(url=url)
with connect(url) as connection:
    source = connection.create_data_source("store_metrics")
    result = dg.materialize(
        [orders, data_source_spec("store_metrics")],
        resources={"temporis_io_manager": TemporisIOManager(temporis=temporis)},
    )
    assert result.success and len(source.read()) == 24  # noqa: PLR2004, PT018, S101
print("The wheel works: 24 observations stored by a Dagster asset.")
