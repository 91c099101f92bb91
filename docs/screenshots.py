"""Take the pictures of ui.md again: drive Debian's chromium through the UI of the example project.

Comes in: a running UI (`make demo`, then `make ui`) and the group `browser`. Goes out: docs/images/*.png.
Never: leaves a change behind: it archives the data source for a moment, to show a red check, and unarchives it; what it
spoils to show a limit and ghost rows, it spoils in copies of the operational database.

    python docs/screenshots.py
"""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from nyc_airports import settings
from nyc_airports.dataset import DATA_SOURCE, NYC_DAYS
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from temporis_dagster import connect

UI = os.environ.get("DAGSTER_UI", "http://127.0.0.1:3000")
IMAGES = Path(__file__).parent / "images"
AUTOMATION = "/locations/example_project"
LIBRARY = "/locations/example_project/components/library/packages"
COLOURS = 256


def main() -> None:
    """Take pictures while all is green, then with an archived data source, then unarchive it."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1440, "height": 860})
        page.set_default_timeout(60_000)
        all_is_well(page)
        spoilt(page)
        with connect(settings.temporis_url()) as temporis:
            source = temporis.data_source(DATA_SOURCE)
            source.archive()
            try:
                archived(page)
            finally:
                source.unarchive()
        launch_departures()
        chromium.close()


def all_is_well(page: Page) -> None:
    """Take the pictures of what the demo wrote."""
    visit(page, "/asset-groups", "100% filled")
    shoot(page, "asset-graph")
    visit(page, "/assets/departures?view=events", "[Show Markdown]")
    shoot(page, "materialization")
    page.get_by_text("[Show Markdown]").click()
    shoot(page.get_by_role("dialog"), "plot")
    visit(page, "/assets/departures?view=checks&checkDetail=observation_gaps_check", "temporis/found")
    shoot(page, "check-green")
    visit(page, "/assets/departures", "series [1]")
    shoot(page, "catalog")
    visit(page, "/assets/weather", "temporis/stored")
    shoot(page, "component")
    visit(page, f"{LIBRARY}/temporis_dagster/temporis_dagster.components.TemporisIngestComponent", "Ingests")
    shoot(page, "component-page")


def spoilt(page: Page) -> None:
    """Take the pictures of a run that a limit stops, and of a run whose extract lacks rows that are stored."""
    three_days = NYC_DAYS.time_window_for_partition_key("2013-12-29").start
    evening = NYC_DAYS.time_window_for_partition_key("2013-12-31").start + timedelta(hours=18)
    with operational_db("UPDATE flights SET dep_delay_min = dep_delay_min * 60 WHERE scheduled_at >= ?", three_days):
        launch_departures()
    visit(page, "/runs", "departures_job")
    run = page.locator("a[href^='/runs/']").first.get_attribute("href")
    visit(page, f"{run}?logs=type%3ASTEP_FAILURE", "View full message")
    page.get_by_text("View full message").first.click()
    shoot(page.get_by_role("dialog"), "limits")
    try:
        with operational_db("DELETE FROM flights WHERE origin = 'LGA' AND scheduled_at >= ?", evening):
            launch_departures()
        visit(page, "/assets/departures?view=checks&checkDetail=ghost_rows_check", "temporis/found")
        shoot(page, "ghosts")
    finally:
        launch_departures()


@contextmanager
def operational_db(change: str, since: datetime) -> Iterator[None]:
    """Let runs read a copy of the operational database in which the flights since then were changed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(settings.operational_db(), folder)
        with closing(sqlite3.connect(copy)) as database, database:
            database.execute(change, (since.timestamp(),))
        os.environ["NYC_OPERATIONAL_DB"] = str(copy)
        try:
            yield
        finally:
            del os.environ["NYC_OPERATIONAL_DB"]


def archived(page: Page) -> None:
    """Take the pictures of a run that stops at the gate, and of the reasons that the check and the ticks give."""
    launch_departures()
    visit(page, f"/assets/temporis/{DATA_SOURCE}?view=checks", "Failed")
    shoot(page, "check-red")
    preview(page, "schedules/departures_job_schedule", "schedule-skipped")
    preview(page, "sensors/departures_job_gap_fill_sensor", "gap-sensor-skipped")


def launch_departures() -> None:
    """Launch the gated job over three days. While the data source is archived, it is meant to fail."""
    job = ["dg", "launch", "--job", "departures_job", "--partition-range", "2013-12-29...2013-12-31"]
    subprocess.run(job, cwd=settings.PROJECT, check=False, capture_output=True)


def preview(page: Page, tick_of: str, name: str) -> None:
    """Take the picture of what a schedule or a sensor would do now."""
    visit(page, f"{AUTOMATION}/{tick_of}", "Preview tick result")
    page.get_by_text("Preview tick result").click()
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("Requested runs").wait_for()
    shoot(page.get_by_role("dialog"), name)


def visit(page: Page, path: str, text: str) -> None:
    """Open a page and wait until it shows this text."""
    page.goto(UI + path)
    page.get_by_text(text).first.wait_for()


def shoot(what: Page | Locator, name: str) -> None:
    """Save a picture with few colours, because every clone contains it."""
    (what if isinstance(what, Page) else what.page).wait_for_timeout(2_000)  # animations
    path = IMAGES / f"{name}.png"
    what.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


if __name__ == "__main__":
    main()
