"""HttpTarget: the data sources of an HTTP service, as a target.

Comes in: a tally, or a question about a data source. Goes out: the tally settled, or an error that says what to do.
Never: encodes, retries or waits itself, or reads observations back (the API has no way to).
"""

from __future__ import annotations

import platform
import threading
from collections import defaultdict

from temporis_dagster._version import __version__
from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.access import check_token, checked_url
from temporis_dagster.data_source.http.attempts import Reply, reply_to
from temporis_dagster.data_source.http.body_size import BodySize
from temporis_dagster.data_source.http.client import Client
from temporis_dagster.data_source.http.delivery import Delivery, Transport, Watcher, Workers, in_a_worker
from temporis_dagster.data_source.http.encoding import Encoder, empty_body
from temporis_dagster.data_source.http.errors import error_of
from temporis_dagster.data_source.http.forked import renew_after_fork
from temporis_dagster.data_source.http.retry import RetryPolicy
from temporis_dagster.data_source.http.throttle import Clock, Throttle
from temporis_dagster.data_source.http.window import MOST_IN_FLIGHT
from temporis_dagster.data_source.options import HttpOptions
from temporis_dagster.data_source.report import Tally, UpsertReport
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import DeliveryError
from temporis_dagster.settings import trimmed


class HttpTarget:
    """The data sources of one account of an HTTP service.

    Args:
        url: The base URL; a path prefix is kept.
        token: The access token.
        options: How to deliver.
        clock: What time it is.
        transport: What performs the attempts; by default an HTTP client.

    Raises:
        ConfigurationError: The URL or the token cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        options: HttpOptions | None = None,
        *,
        clock: Clock | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._options = options = options or HttpOptions()
        self._url, token = checked_url(trimmed(url), options), trimmed(token)
        check_token(token, self._url, options)
        self._client: Client | None = None
        if transport is None:
            transport = self._client = self._make_client(token)
        self._transport: Transport = transport
        self._clock = clock
        self.begin_anew()
        renew_after_fork(self)

    def begin_anew(self) -> None:
        """Start, also in a forked child, with nothing under way and nothing known of the service."""
        self._throttle = Throttle(
            RetryPolicy(give_up_after_s=self._options.give_up_after_s, said=self._options.ADVICE.patience),
            max_in_flight=self._options.max_in_flight,
            requests_per_second=self._options.requests_per_second,
            service=self._url,
            clock=self._clock,
        )
        self._size = BodySize(self._options.batch_rows, self._options.max_body_bytes)
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._workers: dict[str, Workers] = {}

    def _make_client(self, token: str | None) -> Client:
        return Client(
            self._url,
            token,
            timeout_s=self._options.timeout_s,
            max_in_flight=self._options.max_in_flight or MOST_IN_FLIGHT,
            verify=self._options.verify,
            agent=f"temporis-dagster/{__version__} Python/{platform.python_version()} {self._options.caller}".rstrip(),
        )

    @property
    def url(self) -> str:
        """The base URL, which has no user name or password."""
        return self._url

    @property
    def options(self) -> HttpOptions:
        """How to deliver."""
        return self._options

    def prepare(self) -> None:
        """Make the HTTP client without connecting, for a mirror, which must know before it writes an observation.

        Raises:
            ConfigurationError: The proxies or certificates that the environment names cannot be used.
        """
        if self._client is not None:
            self._client.prepare()

    def upsert(self, tally: Tally) -> None:
        """Deliver the tally's observations. Upserts into one data source take turns, also after an interruption."""
        self.prepare()
        with self._turns[tally.data_source]:
            self._workers.get(tally.data_source, Workers()).wait()
            workers = self._workers[tally.data_source] = Workers()
            refusal = self.deliver(tally, workers=workers)
        if refusal is not None:
            raise self.error(refusal, tally.data_source, tally.report("The upsert stopped before these were sent."))

    def deliver(self, tally: Tally, *, watcher: Watcher | None = None, workers: Workers | None = None) -> Reply | None:
        """Deliver without taking turns.

        Args:
            tally: What to deliver. Until this returns, no other request may carry any of its keys.
            watcher: Is called before and after every attempt.
            workers: The threads to use, for a caller that waits for those that an interruption left behind.

        Returns:
            The reply that ended the delivery early, or None if every body was answered.
        """
        encoder = Encoder(tally.data_source, tally.observations, self._size)
        delivery = Delivery(self._transport, self._throttle, encoder, self._size, tally, workers or Workers(), watcher)
        return delivery.run(self._options.max_in_flight)

    def archive_state(self, data_source: str) -> ArchiveState:
        """Ask with an empty ingest. If the service refuses it for being empty, the state is unknown."""
        body = empty_body(data_source)
        with self._throttle.engaged():
            reply = in_a_worker(
                lambda stopped: reply_to(lambda _: self._transport.post(body), self._throttle, stopped=stopped),
                self._throttle,
            )
        state = _STATES.get(reply.answer.meaning)
        if state is None:
            raise self.error(reply, data_source, UpsertReport(data_source))
        return state

    def close(self) -> None:
        """Release connections."""
        if self._client is not None:
            self._client.close()

    def error(self, reply: Reply, data_source: str, report: UpsertReport) -> DeliveryError:
        """Make the error for a reply that ended a delivery early."""
        return error_of(reply, data_source, report, url=self._url, advice=self._options.ADVICE)


_STATES = {
    Meaning.STORED: ArchiveState.ACTIVE,
    Meaning.ARCHIVED: ArchiveState.ARCHIVED,
    Meaning.INVALID: ArchiveState.UNKNOWN,
    Meaning.TOO_LARGE: ArchiveState.UNKNOWN,
}
