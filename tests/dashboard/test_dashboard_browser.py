"""The dashboard in a real browser: what a person does there, with and without JavaScript, a mouse, a large screen."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlencode

import pytest

from temporis_dagster.data_source.target import ArchiveState
from tests.support.browser import PHONE, opened_page
from tests.support.dashboard_tools import Running, started_dashboard

pytestmark = pytest.mark.once

T0, HOUR = 1_718_841_600, 3_600
HOSTILE = ['a "quoted" name', "it's <b>bold</b>", "<script>alert(1)</script>", "wärme 🔥 & 雪", "x" * 200, "two\nlines"]
PAGES = (
    "/",
    "/sources/store_metrics",
    f"/sources/store_metrics?series={'x' * 200}&series=load",
    "/sources/store_metrics?start=2030-01-01",
    "/sources/empty",
    "/sources/store_metrics/archive",
    "/sources/retired",
    "/sources/unknown",
    "/tokens",
    "/tokens/delete?label=person",
    "/activity",
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A dashboard with a thousand series, hostile names, an archived data source, and some activity."""
    with started_dashboard(tmp_path_factory.mktemp("dashboard")) as running:
        store = running.service.store
        for name in ("empty", "retired"):
            store.create_data_source(name)
        store.set_archived("retired", archived=True)
        rows = [
            (T0 + hour * HOUR, name, 10.0 + hour % 24) for hour in range(72) for name in ("load", "solar", *HOSTILE)
        ]
        rows += [
            (T0 + hour * HOUR, f"series_{number:04}", float(number)) for number in range(1_000) for hour in range(2)
        ]
        assert running.ingest(*rows) == 204
        assert running.ingest((T0, "load", 1.0), source="retired") == 409
        yield running


@contextmanager
def logged_in(browser, running: Running, secret: str = "", **options):
    """A page of a person who has logged in by the form."""
    with opened_page(browser, running.url, **options) as page:
        page.goto("/")
        page.get_by_label("Dashboard token").fill(secret or running.token)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/")
        yield page


def test_a_data_source_from_its_creation_to_its_plot(browser, running):
    """Created under a rule that is checked as one types; archived, so that an ingest gets 409; unarchived; plotted."""
    with logged_in(browser, running) as page:
        name = page.get_by_label("Name", exact=True)
        name.press_sequentially("grid Load")
        assert page.get_by_text("“ ” cannot stand at place 5 of the name.").is_visible()
        name.fill("grid_load")
        assert page.get_by_text("This name can be used.").is_visible()
        page.get_by_role("button", name="Create").click()
        page.get_by_text("The data source was created.").wait_for()
        page.get_by_role("link", name="Archive").click()
        page.get_by_role("button", name="Archive").click()
        page.get_by_text("The data source was archived.").wait_for()
        assert running.service.store.archive_state("grid_load") is ArchiveState.ARCHIVED
        assert running.ingest((T0, "load", 1.0), source="grid_load") == 409
        page.get_by_role("link", name="Activity").click()
        assert page.get_by_role("cell", name="Data source is archived.").is_visible()
        page.goto("/sources/grid_load")
        page.get_by_role("link", name="Unarchive").click()
        page.get_by_role("button", name="Unarchive").click()
        page.get_by_text("It takes observations again.").wait_for()
        rows = [(T0 + hour * HOUR, name, hour + 0.5) for hour in range(72) for name in ("load", "solar")]
        assert running.ingest(*rows, source="grid_load") == 204
        page.goto("/sources/grid_load")
        page.get_by_label("Plot solar").check()
        page.get_by_role("button", name="Plot the selected series").click()
        page.wait_for_url("**series=load&series=solar**")
        assert page.locator(".uplot canvas").is_visible()
        assert page.locator(".uplot .u-legend").get_by_text("solar").is_visible()
        assert page.get_by_role("img", name=re.compile("Plot of load, solar from 2024-06-20T00:00:00Z")).is_visible()


def test_a_plot_is_zoomed_with_the_mouse_and_its_range_is_in_the_url(browser, filled):
    """Dragging across it leads to the URL of that range, where table and fields agree; a double click to everything."""
    with logged_in(browser, filled) as page:
        page.goto("/sources/store_metrics?series=load")
        box = page.locator(".u-over").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60, steps=5)
        page.mouse.up()
        page.wait_for_url("**start=**")
        start = page.get_by_label("From (UTC)").input_value()
        assert start.startswith("2024-06-21T1")
        assert page.get_by_role("region", name="Observations").get_by_role("row").count() in range(15, 22)
        page.locator(".u-over").dblclick()
        page.wait_for_url(lambda url: "start=" not in url)


def test_a_token_is_shown_once_and_copied(browser, running):
    """On one page; after a reload of the list, and on the way back, it is gone."""
    with logged_in(browser, running, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("link", name="Tokens").click()
        page.get_by_label("Label").fill("loader")
        page.get_by_role("button", name="Create").click()
        token = page.get_by_label("Token for ingests").input_value()
        assert running.ingest((T0, "orders", 1.0), token=token) == 204
        page.get_by_role("button", name="Copy").click()
        page.get_by_text("The token was copied.").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == token
        page.get_by_role("link", name="To the list of tokens").click()
        assert page.get_by_role("rowheader", name="loader").is_visible()
        assert token not in page.content()
        page.get_by_role("link", name="Delete loader").click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_text("The token was deleted.").wait_for()
        assert running.ingest((T0, "orders", 1.0), token=token) == 401


def test_a_person_who_logs_out_cannot_go_back(browser, running):
    """The back button shows the login, not the page that was there."""
    with logged_in(browser, running) as page:
        page.get_by_role("button", name="Log out").click()
        page.get_by_text("You are logged out.").wait_for()
        page.go_back()
        page.get_by_role("heading", name="Log in").wait_for()


def test_another_website_cannot_send_a_form(browser, running):
    """A page on another port of this host, which even gets the cookie sent along, archives nothing."""

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            action = f"{running.url}/sources/store_metrics/archive"
            self.wfile.write(f'<form method="post" action="{action}"><button>Win</button></form>'.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Evil)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with logged_in(browser, running) as page:
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.get_by_role("button", name="Win").click()
            page.get_by_text("This form was sent by another website. Nothing was changed.").wait_for()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert running.service.store.archive_state("store_metrics") is ArchiveState.ACTIVE


def test_two_accounts_in_two_windows_are_apart(browser, running):
    """Each sees its own data sources, at the same time and from the same machine."""
    theirs = running.service.store.of_account("others")
    theirs.create_data_source("secret_plans")
    rival = theirs.tokens.create("rival", dashboard=True)
    with logged_in(browser, running) as mine, logged_in(browser, running, rival) as other:
        for page in (mine, other):
            page.reload()
        assert mine.get_by_role("rowheader").all_text_contents() == ["store_metrics"]
        assert other.get_by_role("rowheader").all_text_contents() == ["secret_plans"]
        other.goto("/sources/store_metrics")
        assert other.get_by_role("heading", name="Not found").is_visible()


def test_hostile_names_are_shown_and_plotted(browser, filled):
    """Quotes, markup and emoji are text in lists, fields, legends and links; no script of a name runs."""
    with logged_in(browser, filled) as page:
        page.goto("/sources/store_metrics?search=o")
        for name in HOSTILE[:2]:
            page.get_by_label(f"Plot {name}").check()
        page.locator("input[type=checkbox][name=series_json]").check()
        page.get_by_role("button", name="Plot the selected series").click()
        page.wait_for_url("**series_json=**")
        assert page.locator(".u-legend .u-series:not(.edge)").count() == 1 + 3
        for name in HOSTILE[1:4]:
            page.goto(f"/sources/store_metrics?{urlencode({'search': name})}")
            page.get_by_role("link", name=name, exact=True).click()
            page.locator(".uplot canvas").wait_for()
            assert page.locator(".u-legend").get_by_text(name).is_visible()


def test_a_thousand_series_are_found_by_their_names(browser, filled):
    """The list is paged; a search shows what matches, each with an outline that has words."""
    with logged_in(browser, filled) as page:
        page.goto("/sources/store_metrics")
        assert page.get_by_text("1 to 25 of 1,008").is_visible()
        page.get_by_role("link", name="Next").click()
        assert page.get_by_text("26 to 50 of 1,008").is_visible()
        page.get_by_label("Search by a part of the name").fill("SERIES_0999")
        page.get_by_role("button", name="Search").click()
        assert page.get_by_text("1 to 1 of 1", exact=True).is_visible()
        assert page.get_by_role("img", name="2 points from 999 to 999, the last is 999").is_visible()


def test_every_page_works_without_javascript(browser, filled):
    """Login, plot, range, search and selection are plain HTML."""
    with logged_in(browser, filled, java_script_enabled=False) as page:
        page.goto("/sources/store_metrics")
        page.get_by_label("Plot load").check()
        page.get_by_role("button", name="Plot the selected series").click()
        page.get_by_label("From (UTC)").fill("2024-06-21T00:00:00")
        page.get_by_role("button", name="Show").click()
        drawing = page.get_by_role("img", name=re.compile("^Plot of .*load.* from 2024-06-21T00:00:00Z"))
        assert drawing.is_visible()
        assert drawing.bounding_box()["height"] > 100
        page.get_by_role("link", name="Tokens").click()
        assert page.get_by_role("rowheader", name="person").is_visible()


def test_the_keyboard_is_enough(browser, filled):
    """The first key leads to the content; the login, the menu and a search need no mouse."""
    with opened_page(browser, filled.url) as page:
        page.goto("/")
        page.keyboard.insert_text(filled.token)  # the field has the focus
        page.keyboard.press("Enter")
        page.wait_for_url("**/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "empty"
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="empty").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault_of_accessibility(browser, filled, scheme):
    """axe-core finds nothing serious or critical on any page, in light and in dark."""
    from axe_playwright_python.sync_playwright import Axe

    axe, found = Axe(), {}

    def look(page, where: str) -> None:
        violations = axe.run(page).response["violations"]
        serious = [
            (v["id"], [n["html"][:120] for n in v["nodes"]])
            for v in violations
            if v["impact"] in ("serious", "critical")
        ]
        if serious:
            found[where] = serious

    with opened_page(browser, filled.url, color_scheme=scheme) as page:
        page.goto("/login")
        look(page, "login")
        page.get_by_label("Dashboard token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        look(page, "refused login")
    with logged_in(browser, filled, color_scheme=scheme) as page:
        for path in PAGES:
            page.goto(path)
            look(page, path)
        page.goto("/tokens")
        page.get_by_label("Label").fill(f"axe {scheme}")
        page.get_by_role("button", name="Create").click()
        look(page, "created token")
    assert found == {}


def test_a_phone_shows_every_page_without_scrolling_sideways(browser, filled):
    """At a width of 360 pixels, no page is wider than the screen."""
    with logged_in(browser, filled, size=PHONE) as page:
        widths = {}
        for path in PAGES:
            page.goto(path)
            widths[path] = page.evaluate("document.scrollingElement.scrollWidth")
        assert {path: width for path, width in widths.items() if width > PHONE[0]} == {}
