"""Metrics: what this process has answered and stored so far, in Prometheus' text format. Needs the extra ``[metrics]``.

Comes in: each request, what the application noted about it, and its answer. Goes out: the answer to ``GET /metrics``.
Never: has the name of a data source or an account, a path or a token in it: clients choose those, and a reader of
metrics need not know them.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Scope

from temporis_dagster.contract import INGEST_PATH, PREDICT_PATH
from temporis_dagster.service.access_log import Noted, noted
from temporis_dagster.service.app import HEALTH_PATH, READY_PATH
from temporis_dagster.service.middleware import AfterAnswers

PATH = "/metrics"

ENDPOINTS = {
    INGEST_PATH: "ingest",
    PREDICT_PATH: "predict",
    HEALTH_PATH: "health",
    READY_PATH: "ready",
    PATH: "metrics",
}
"""What each path is called; any other path is *other*, so that no client can add a label."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the histogram's buckets."""

FIRST_REFUSAL, FIRST_FAILURE = 400, 500


class Metrics:
    """The metrics of one service, and the page that shows them. What a service serves besides the API (``Pages``)."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "temporis_requests",
            "Requests by endpoint and status; a status of 0 if the client did not wait for its answer.",
            ["endpoint", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "temporis_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ["endpoint"],
            registry=self._registry,
            buckets=SECONDS,
        )
        self._rows = Counter(
            "temporis_rows",
            "Rows of ingests: stored, unchanged because they were stored with this value already, or rejected with the"
            " whole request (404, 409 or 413). Those of a 422 are not read to the end, so they are not counted.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in ("stored", "unchanged", "rejected"):
            self._rows.labels(outcome)
        self._seconds.labels("ingest")

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The page for Prometheus."""
        return [Route(PATH, self.page, methods=["GET"])]

    @property
    def middleware(self) -> Sequence[Middleware]:
        """What counts every request."""
        return [Middleware(_Counting, metrics=self)]

    async def page(self, _request: Request) -> Response:
        """Return all metrics."""
        return Response(generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def count(self, path: str, status: int, seconds: float, note: Noted) -> None:
        """Count a request that has been answered.

        Args:
            path: Its path.
            status: The status of the answer; 0 if there was none.
            seconds: How long it took.
            note: What the application noted.
        """
        endpoint = ENDPOINTS.get(path, "other")
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)
        if FIRST_REFUSAL <= status < FIRST_FAILURE:
            self._rows.labels("rejected").inc(note.records or 0)
        elif status < FIRST_REFUSAL:
            self._rows.labels("stored").inc(note.stored)
            self._rows.labels("unchanged").inc(note.unchanged)


class _Counting(AfterAnswers):
    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        super().__init__(app)
        self._metrics = metrics

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        self._metrics.count(scope["path"], status, seconds, noted(scope))
