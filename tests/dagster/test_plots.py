"""The plot of a materialization: small, plain, and drawn for whatever was written."""

import base64
import io

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from temporis_dagster import ConfigurationError, TemporisIOManager, TemporisResource, temporis_asset
from temporis_dagster.data_source.observations import ObservationOptions, observe
from temporis_dagster.testing import sample_frame
from temporis_dagster.writing import steps
from temporis_dagster.writing.plots import LARGEST_DRAWN, NOTHING, SLICES, plot_of, thinned
from tests.support.dagster_harness import materializations

START = "![observations](data:image/png;base64,"
SMALL = 60_000


def image_of(markdown):
    assert markdown.startswith(START)
    assert markdown.endswith(")")
    assert len(markdown) < SMALL
    return Image.open(io.BytesIO(base64.b64decode(markdown.removeprefix(START)[:-1])))


def long(count, *, names=("orders",), values=None, start=1_700_000_000, step=60):
    frame = pd.DataFrame({"timestamp": start + step * np.arange(count)}).merge(pd.DataFrame({"name": names}), "cross")
    return frame.assign(value=np.arange(len(frame), dtype=float) if values is None else values)


def plotted(frame):
    return plot_of(observe(frame, ObservationOptions(allow_future=True)))


@pytest.mark.parametrize(
    "frame",
    [
        sample_frame(),
        long(1),
        long(3, values=[0.0, 0.0, 0.0]),
        long(3, values=[-1.7e308, 0.0, 1.7e308]),
        long(3, values=[1.7e308] * 3),
        long(3, values=[5e-324, 0.0, -5e-324]),
        long(2, start=-60_000_000_000, step=150_000_000_000),
        long(100, names=[f"series_{number}" for number in range(100)]),
        long(1, names=[f"series_{number}" for number in range(9)]),
    ],
    ids=["sample", "one", "zeros", "huge", "equal", "tiny", "centuries", "many series", "many at once"],
)
def test_whatever_can_be_written_can_be_drawn(frame):
    """One value, equal ones, the largest floats, centuries, a hundred series: an image of the usual size."""
    assert image_of(plotted(frame)).size == (800, 300)


def test_nothing_is_said_in_words():
    """No image stays in the event log for an empty frame."""
    assert plotted(long(0)) == NOTHING


def test_noise_of_many_rows_stays_small():
    """The hardest picture to compress: eight series of noise, 200,000 rows."""
    noise = np.random.default_rng(1).normal(size=200_000)
    names = [f"a_series_with_a_name_of_some_length_{number}" for number in range(8)]
    image_of(plotted(long(25_000, names=names, values=noise)))


@pytest.mark.parametrize(
    "name",
    ["$x_1$", "$open", "_hidden", "](javascript:alert(1))", "<b>bold</b>", '"quoted"', "\U0001f600", "\u96fb\u6c17",
     "line\nbreak", "x" * 500, "\\frac", "%s {0}"],
)  # fmt: skip
def test_names_are_plain_text(name):
    """Mathematics, markup, emoji, quotes, line breaks, endless names: drawn as text, and not part of the Markdown."""
    markdown = plotted(long(5, names=[name]))
    image_of(markdown)
    assert name not in markdown


def test_a_name_is_in_the_picture():
    """Series whose names differ give pictures that differ, also where a name begins with an underscore."""
    assert len({plotted(long(5, names=[name])) for name in ("orders", "_orders", "$orders$")}) == 3


def test_thinning_keeps_peaks():
    """The smallest and the largest value in every slice of time survive, in the order of time."""
    stamps = np.arange(100_000)
    values = np.sin(stamps / 500.0)
    values[[123, 77_777]] = [50.0, -50.0]
    kept, thin = thinned(stamps[::-1], values[::-1])
    assert SLICES < len(kept) <= 2 * SLICES
    assert (np.diff(kept) > 0).all()
    assert (thin.max(), thin.min()) == (50.0, -50.0)
    assert {123, 77_777} <= set(kept.tolist())
    assert (thin == values[kept]).all()
    assert thinned(np.array([1]), np.array([1e308]))[1].tolist() == [LARGEST_DRAWN]


DAYS = dg.DailyPartitionsDefinition("2024-06-20", end_date="2024-06-23")
THREE_DAYS = {
    "dagster/asset_partition_range_start": "2024-06-20",
    "dagster/asset_partition_range_end": "2024-06-22",
}


@pytest.fixture
def run(tmp_path):
    """Run an asset over three days of hours."""

    def materialize(*, configured=False, **arguments):
        @temporis_asset(data_source="store_metrics", name="orders", partitions_def=DAYS, **arguments)
        def orders():
            return sample_frame(hours=72)

        temporis = TemporisResource(url=f"sqlite:///{tmp_path}/temporis.db", create_missing=True)
        return dg.materialize(
            [orders],
            resources={"temporis_io_manager": TemporisIOManager(temporis=temporis, plot=configured)},
            tags=THREE_DAYS,
        )

    return materialize


pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")


def test_a_plot_is_opt_in_and_once_a_run(run):
    """None by default; one image if the asset or the configuration asks for it, on the event of the last partition."""
    assert all("temporis/plot" not in metadata for metadata in materializations(run(), "orders").values())
    for result in (run(plot=True), run(configured=True)):
        events = materializations(result, "orders")
        assert [key for key, metadata in events.items() if "temporis/plot" in metadata] == ["2024-06-22"]
        image_of(events["2024-06-22"]["temporis/plot"])
    assert all(
        "temporis/plot" not in event for event in materializations(run(plot=False, configured=True), "orders").values()
    )


def test_a_plot_that_cannot_be_drawn_fails_nothing(run, monkeypatch):
    """The rows are stored, so the step succeeds."""
    monkeypatch.setattr(steps, "plot_of", lambda _observations: 1 / 0)
    result = run(plot=True)
    assert result.success
    assert all("temporis/plot" not in metadata for metadata in materializations(result, "orders").values())


def test_a_plot_without_its_extra_is_said_before_anything_is_sent(monkeypatch):
    """The error has the command that installs it; and a value that is neither True nor False is refused."""
    with pytest.raises(ConfigurationError, match="plot must be True or False, got 'yes'"):
        temporis_asset(data_source="store_metrics", plot="yes")
    monkeypatch.setattr("temporis_dagster.asset_options.find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'temporis-dagster\[plots\]'"):
        temporis_asset(data_source="store_metrics", plot=True)
