"""Take the pictures of dashboard.md again: a dashboard over made-up data, in Debian's chromium.

Comes in: the group `browser`, and a chromium. Goes out: docs/images/dashboard-*.png.
Never: touches a store of the user's own: the one that is shown is made in a temporary folder.

    python docs/dashboard_screenshots.py [FOLDER]
"""

import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from temporis_dagster import connect
from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.store import SqlStore

IMAGES = Path(__file__).parent / "images"
SIZES = {"desk": (1280, 800), "phone": (360, 740)}
COLOURS = 256
TALLEST = 1_400
"""How many pixels of a page are kept for the docs."""

LAST_HOUR = 1_719_702_000
PAGES = {
    "login": "/login",
    "sources": "/",
    "source": "/sources/grid_load?series=load_north&series=solar_north&start=2024-06-08T00:00Z",
    "empty": "/sources/heat_pumps",
    "archive": "/sources/grid_load/archive",
    "tokens": "/tokens",
    "created": "/tokens",
    "activity": "/activity",
}
KEPT = {
    "dashboard-sources-desk-light",
    "dashboard-source-desk-light",
    "dashboard-source-desk-dark",
    "dashboard-source-phone-dark",
    "dashboard-tokens-desk-dark",
    "dashboard-activity-desk-light",
    "dashboard-activity-phone-light",
    "dashboard-sources-phone-light",
    "dashboard-login-desk-light",
}
"""The pictures that are in the repository. With a folder as argument, all of them are written there."""


def main() -> None:
    """Take every page at the width of a desk and of a phone, in light and in dark."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        url = f"sqlite:///{temporary}/temporis.db"
        fill(url)
        store = SqlStore(url)
        token = store.tokens.create("Anna (analysis)", dashboard=True)
        loader = store.tokens.create("loader", dashboard=False)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with served(url) as service:
            send(service, loader)
            for (size, (width, height)), scheme in itertools.product(SIZES.items(), ("light", "dark")):
                shoot(chromium, service, token, (size, width, height), scheme, folder)
        chromium.close()
        store.close()


def fill(url: str) -> None:
    """Make data sources: one with many series, one archived, one empty."""
    hours = pd.date_range("2024-03-01", "2024-06-30", freq="h", tz="UTC", inclusive="left")
    of_day, random = hours.hour.to_numpy(), np.random.default_rng(7)
    frame = {}
    for number, zone in enumerate(("north", "south", "east", "west")):
        base = 900 + 150 * number + 40 * np.cumsum(random.normal(size=len(hours))) / 10
        frame[f"load_{zone}"] = base + 260 * np.sin((of_day - 7) / 24 * 2 * np.pi) + random.normal(0, 25, len(hours))
        frame[f"solar_{zone}"] = np.maximum(0, 700 * np.sin((of_day - 5) / 15 * np.pi)) * random.uniform(
            0.4, 1, len(hours)
        )
        frame[f"price_{zone}"] = 60 + 25 * np.sin((of_day - 9) / 12 * np.pi) + random.normal(0, 6, len(hours))
    with connect(url) as temporis:
        temporis.create_data_source("grid_load").upsert(pd.DataFrame(frame, index=hours).round(2))
        weather = temporis.create_data_source("weather_2023")
        weather.upsert(pd.DataFrame({"temperature": np.sin(of_day / 4)}, index=hours - pd.Timedelta(days=365)))
        weather.archive()
        temporis.create_data_source("heat_pumps")


@contextmanager
def served(url: str) -> Iterator[str]:
    """Run the service with its dashboard."""
    command = [sys.executable, "-m", "temporis_dagster.cli", "serve", "--store", url, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101  # it is a pipe
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def send(service: str, token: str) -> None:
    """Send ingests, some of which are refused."""

    def post(source: str, count: int, value: object = 372.5, token: str = token) -> None:
        times = [LAST_HOUR + 60 * (n + 1) for n in range(count)]
        records = [{"timestamp": time, "name": "load_north", "value": value} for time in times]
        body = {"data_source": source, "records": records}
        httpx.post(service + INGEST_PATH, json=body, headers={"Authorization": f"Bearer {token}"})

    post("grid_load", 48)
    post("weather_2023", 24)
    post("grid_lode", 12)
    post("grid_load", 3, "n/a")
    post("grid_load", 1, token="ts_unknown")  # noqa: S106  # not a token of ours
    post("grid_load", 96)


def shoot(
    chromium: Browser, service: str, token: str, size: tuple[str, int, int], scheme: str, folder: Path | None
) -> None:
    """Take a picture of every page, from its top to its bottom."""
    name_of_size, width, height = size
    context = chromium.new_context(
        base_url=service, viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1
    )
    page = context.new_page()
    for name, path in PAGES.items():
        page.goto(path)
        if name == "created":
            page.get_by_label("Label").fill(f"nightly load ({name_of_size}, {scheme})")
            page.get_by_role("button", name="Create").click()
            page.get_by_label("Token for ingests").evaluate("field => { field.value = 'ts_' + '•'.repeat(43) }")
        picture = f"dashboard-{name}-{name_of_size}-{scheme}"
        if folder is not None or picture in KEPT:
            path_of_picture = (folder or IMAGES) / f"{picture}.png"
            page.screenshot(path=path_of_picture, full_page=True)
            image = Image.open(path_of_picture).convert("RGB")
            image = image.crop((0, 0, width, min(image.height, TALLEST if folder is None else image.height)))
            image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(path_of_picture, optimize=True)
        if name == "login":
            page.get_by_label("Dashboard token").fill(token)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url("**/")
    context.close()


if __name__ == "__main__":
    main()
