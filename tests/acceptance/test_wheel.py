"""The installed wheel, used the way its first user would, away from the source tree."""

from pathlib import Path

from temporis_dagster import __version__

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "temporis_dagster" / "dashboard"

ASSET = """\
import dagster as dg
import pandas as pd

from temporis_dagster import TemporisIOManager, TemporisResource, connect, data_source_spec, temporis_asset


@temporis_asset(data_source="store_metrics")
def orders() -> pd.DataFrame:
    hours = pd.date_range("2024-06-20", periods=24, freq="h", tz="UTC")
    return pd.DataFrame({"orders": range(24)}, index=hours)


url = "sqlite:///temporis.db"
with connect(url) as connection:
    source = connection.create_data_source("store_metrics")
    result = dg.materialize(
        [orders, data_source_spec("store_metrics")],
        resources={"temporis_io_manager": TemporisIOManager(temporis=TemporisResource(url=url))},
    )
    assert result.success
    print("stored:", len(source.read()))
"""


def test_the_package_is_the_one_in_the_wheel(run):
    """It is imported from site-packages, has the version of its metadata, is typed, and has the files of the pages."""
    code = "import temporis_dagster as t, importlib.metadata as m; print(t.__file__); print(t.__version__)"
    code += "; print(m.version('temporis-dagster')); print(m.files('temporis-dagster'))"
    file, own, installed, files = run("python", "-c", code).splitlines()
    assert "site-packages" in file
    assert own == installed == __version__
    assert "temporis_dagster/py.typed" in files
    of_pages = [path for folder in ("static", "templates") for path in (DASHBOARD / folder).iterdir()]
    assert of_pages
    assert [path.name for path in of_pages if f"'{path.relative_to(ROOT).as_posix()}'" not in files] == []
    assert "tests/" not in files


def test_a_dagster_asset_stores_its_frame(run):
    """24 rows of a DataFrame that an asset returns are 24 observations of the data source."""
    assert "stored: 24\n" in run("python", "-c", ASSET)


def test_the_command_is_installed(run, tmp_path):
    """`temporis` creates a data source, ingests a file and reads it back."""
    url = "sqlite:///temporis.db"
    run("temporis", "sources", "create", "store_metrics", TEMPORIS_STORE=url)
    header, row = "timestamp,name,value", "2024-06-20T08:00:00Z,orders,42"
    (tmp_path / "sales.csv").write_text(f"{header}\n{row}\n")
    run("temporis", "ingest", "sales.csv", "--data-source", "store_metrics", TEMPORIS_URL=url)
    assert run("temporis", "read", "--data-source", "store_metrics", TEMPORIS_URL=url).split() == [header, f"{row}.0"]
