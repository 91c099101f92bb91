"""Debian's chromium, driven by playwright, for the tests of the dashboard and for its pictures.

Comes in: nothing. Goes out: a browser without a window, and pages that fail a test as soon as a script fails in them or
the browser refuses something for the sake of the Content-Security-Policy.
Never: talks to a host other than this machine, or keeps a profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.system_parts import chromium

ARGUMENTS = [
    "--no-sandbox",  # containers have no rights to make one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000
DESK, PHONE = (1280, 800), (360, 740)


@contextmanager
def started_browser() -> Iterator[Any]:
    """Run a browser with a new and empty profile. No other event loop can run in this thread meanwhile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opened_page(browser: Any, url: str, *, size: tuple[int, int] = DESK, **options: Any) -> Iterator[Any]:
    """Open a page in a context of its own. At the end, nothing in it may have gone wrong."""
    width, height = size
    context = browser.new_context(base_url=url, viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    page.on("console", lambda message: faults.append(message.text) if is_fault(message) else None)
    try:
        yield page
        assert faults == []
    finally:
        context.close()


def is_fault(message: Any) -> bool:
    """Tell whether the browser complains about more than the status of an answer, which tests provoke."""
    return message.type in ("error", "warning") and "the server responded with a status of" not in message.text
