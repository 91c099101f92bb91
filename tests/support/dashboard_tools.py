"""A running dashboard for tests, over real HTTP on loopback, and a visitor of it without a browser."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.dashboard import Dashboard, LoginOptions
from temporis_dagster.dashboard.pending import PendingOf
from tests.support.service_fixture import PATIENCE_S, Service, started_service

START = 1_718_870_400.0


class Clock:
    """The time of a dashboard, which stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = START
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            return self.now

    def move(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


@dataclass
class Running:
    """A service with a dashboard, and a token for it."""

    service: Service
    clock: Clock
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        return self.service.url

    def visitor(self, secret: str | None = None, **headers: str) -> Visitor:
        """A visitor who is logged in: with the token, unless they have another secret."""
        visitor = Visitor(self.url, **headers)
        entered = visitor.log_in(secret or self.token)
        assert entered.status_code == 303, entered.text
        return visitor

    def ingest(self, *records: tuple[int, str, float], source: str = "store_metrics", token: str = "") -> int:
        """Send records to the service as its clients do; return the status."""
        fields = ("timestamp", "name", "value")
        body = {"data_source": source, "records": [dict(zip(fields, record, strict=True)) for record in records]}
        headers = {"Authorization": f"Bearer {token or self.service.token}"}
        return httpx.post(self.url + INGEST_PATH, json=body, headers=headers, timeout=PATIENCE_S).status_code


@contextmanager
def started_dashboard(
    folder: Path | None = None,
    login: LoginOptions | None = None,
    *,
    pending: PendingOf | None = None,
    **options: Any,
) -> Iterator[Running]:
    """Run a service with a dashboard in a thread."""
    clock = Clock()

    def pages(store):
        return Dashboard(store, login, pending=pending, clock=clock)

    with started_service(folder, pages=pages, **options) as service:
        yield Running(service, clock, service.store.tokens.create("person", dashboard=True))


class Client:
    """Requests of one person, each over a connection of its own, so that none stays open; the cookies are kept."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._options, self.cookies = {"base_url": url, "headers": headers, "timeout": PATIENCE_S}, httpx.Cookies()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        with httpx.Client(cookies=self.cookies, **self._options) as client:
            answer = client.request(method, path, **options)
            self.cookies = client.cookies
            return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


class Visitor:
    """What a person does, without a browser: the cookie and the hidden fields are kept and sent as a browser does."""

    def __init__(self, url: str, **headers: str) -> None:
        self.client = Client(url, headers)

    def log_in(self, secret: str, **fields: str) -> httpx.Response:
        return self.client.post("/login", data={"secret": secret, **fields})

    def get(self, path: str, status: int = 200) -> str:
        """Return the HTML of a page."""
        answer = self.client.get(path)
        assert answer.status_code == status, (path, answer.status_code, answer.text)
        return answer.text

    def json(self, path: str) -> dict[str, Any]:
        answer = self.client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/"))
        assert found is not None
        return found[1]

    def send(self, path: str, **fields: str) -> httpx.Response:
        """Press the button of a form."""
        return self.client.post(path, data={"csrf": self.csrf(), **fields})

    def followed(self, path: str, **fields: str) -> str:
        """Press the button of a form, and return the page to which that leads."""
        answer = self.send(path, **fields)
        assert answer.status_code == 303, (path, answer.status_code, answer.text)
        return self.get(answer.headers["location"])


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.links: dict[str, str] = {}
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._link: str | None = None

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "a":
            self._link, self._label = dict(attrs).get("href"), []

    def handle_endtag(self, tag):
        if tag == "a" and self._link is not None:
            self.links["".join(self._label).strip()] = self._link
            self._link = None

    def handle_data(self, data):
        self.words.append(data)
        if self._link is not None:
            self._label.append(data)


def read(page: str) -> _Reader:
    """What a browser makes of a page: its words, its links by their text, its tags and its attributes."""
    reader = _Reader()
    reader.feed(page)
    return reader


def text_of(page: str) -> str:
    """The words of a page, with single blanks."""
    return " ".join(" ".join(read(page).words).split())


def unescaped(page: str) -> str:
    return html.unescape(page)
