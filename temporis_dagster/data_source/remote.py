"""Remote: the data sources of an HTTP service, as a target.

Comes in: a tally, or a question about a data source. Goes out: the tally settled, or an error that says what to do.
Never: encodes, retries or waits itself; reads observations back (the API has no way to).
"""

from __future__ import annotations

import platform
import threading
from collections import defaultdict
from importlib.metadata import version

import httpx

from temporis_dagster.contract import TOKEN, Meaning
from temporis_dagster.data_source.attempts import Reply, Sender, reply_to
from temporis_dagster.data_source.client import Client
from temporis_dagster.data_source.delivery import Delivery
from temporis_dagster.data_source.encoding import Encoder, empty_body
from temporis_dagster.data_source.options import RemoteOptions
from temporis_dagster.data_source.pace import Clock, Pace
from temporis_dagster.data_source.report import Tally, UpsertReport
from temporis_dagster.data_source.retry import RetryPolicy
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import (
    AuthenticationError,
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    DeliveryError,
    RejectedObservationsError,
    UnavailableError,
)

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Remote:
    """The data sources of one account of an HTTP service.

    Args:
        url: The base URL; a path prefix is kept.
        token: The access token.
        options: How to deliver.
        clock: What time it is.
        sender: What makes the attempts; by default an HTTP client.

    Raises:
        ConfigurationError: The URL or the token cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        options: RemoteOptions | None = None,
        *,
        clock: Clock | None = None,
        sender: Sender | None = None,
    ) -> None:
        self._options = options = options or RemoteOptions()
        self._url = _checked_url(url, options)
        _check_token(token)
        self._client = None if sender is not None else self._make_client(token)
        self._sender: Sender = sender or self._client  # type: ignore[assignment]  # one of them is not None
        self._pace = Pace(
            RetryPolicy(give_up_after_s=options.give_up_after_s),
            max_in_flight=options.max_in_flight,
            requests_per_second=options.requests_per_second,
            clock=clock,
        )
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def _make_client(self, token: str | None) -> Client:
        return Client(
            self._url,
            token,
            timeout_s=self._options.timeout_s,
            max_in_flight=self._options.max_in_flight,
            verify=self._options.verify,
            agent=f"temporis-dagster/{version('temporis-dagster')} Python/{platform.python_version()}",
        )

    @property
    def url(self) -> str:
        """The base URL, without user name or password."""
        return self._url

    def upsert(self, tally: Tally) -> None:
        """Deliver the tally's observations. Upserts into one data source take turns."""
        options, observations = self._options, tally.observations
        encoder = Encoder(
            tally.data_source, observations, batch_rows=options.batch_rows, max_body_bytes=options.max_body_bytes
        )
        expected = -(-len(observations) // options.batch_rows)
        with self._turns[tally.data_source]:
            delivery = Delivery(self._sender, self._pace, encoder, tally, max_in_flight=options.max_in_flight)
            refusal = delivery.run(expected)
        if refusal is not None:
            raise self._error(refusal, tally.data_source, tally.report("The upsert stopped before these were sent."))

    def archive_state(self, data_source: str) -> ArchiveState:
        """Ask with an ingest of nothing: a service that refuses an empty batch leaves it unknown."""
        with self._pace.engaged():
            reply = reply_to(empty_body(data_source), self._sender, self._pace)
        state = _STATES.get(reply.answer.meaning)
        if state is None:
            raise self._error(reply, data_source, UpsertReport(data_source))
        return state

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()

    def _error(self, reply: Reply, data_source: str, report: UpsertReport) -> DeliveryError:
        """The error for a reply that is not what was hoped for."""
        answer, where = reply.answer, f"Data source {data_source!r} at {self._url}"
        done = (
            f" {report.stored:,} of {report.observations_in:,} observations were stored."
            if report.observations_in
            else ""
        )
        said = (f"{answer.status}: {answer.words}" if answer.status else answer.words).rstrip(".: ")
        if reply.gave_up and answer.meaning is Meaning.INVALID:
            return RejectedObservationsError(
                f"{where} refuses observations ({said}), and {reply.gave_up}.{done} Correct the rejected rows, then"
                " send the unsent ones again.",
                data_source=data_source,
                report=report,
            )
        if reply.gave_up:
            return UnavailableError(
                f"{where} is unavailable: {said}. Gave up after {reply.attempts} attempts because {reply.gave_up}."
                f"{done} Run the upsert again later: repeating it is safe.",
                data_source=data_source,
                report=report,
                attempts=reply.attempts,
                retry_after_s=answer.retry_after_s,
            )
        if answer.status is None:
            return DeliveryError(
                f"{where} cannot be reached: {said}.{done} {_UNREACHABLE_ADVICE}",
                data_source=data_source,
                report=report,
            )
        kind, advice = _FINAL.get(answer.meaning, (DeliveryError, _UNEXPECTED_ADVICE))
        return kind(f"{where} answered {said}.{done} {advice}", data_source=data_source, report=report)


_STATES = {
    Meaning.STORED: ArchiveState.ACTIVE,
    Meaning.ARCHIVED: ArchiveState.ARCHIVED,
    Meaning.INVALID: ArchiveState.UNKNOWN,
    Meaning.TOO_LARGE: ArchiveState.UNKNOWN,
}
_UNEXPECTED_ADVICE = "That is no answer of the Temporis API: check the URL, and what stands between here and there."
_UNREACHABLE_ADVICE = (
    "Its certificate cannot be verified: check the URL; for a certificate authority of your own, pass verify= the file"
    " of its CA bundle."
)
_FINAL: dict[Meaning, tuple[type[DeliveryError], str]] = {
    Meaning.NOT_AUTHENTICATED: (AuthenticationError, "Check the access token (TEMPORIS_TOKEN), or create a new one."),
    Meaning.NOT_FOUND: (
        DataSourceNotFoundError,
        "Create it first, in the dashboard of this account, or correct its name.",
    ),
    Meaning.ARCHIVED: (DataSourceArchivedError, "It takes no observations. Unarchive it first."),
}


def _checked_url(url: str, options: RemoteOptions) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        raise ConfigurationError("The URL cannot be read. Pass one such as 'https://api.temporis.co'.") from None
    shown = str(parsed.copy_with(username=None, password=None, query=None, fragment=None)).rstrip("/")
    if not parsed.host or parsed.userinfo or parsed.query or parsed.fragment:
        raise ConfigurationError(
            f"{shown!r} has no host, or has more than host, port and path. Pass the token with token=."
        )
    if parsed.scheme == "http" and parsed.host not in LOOPBACK and not options.allow_http:
        raise ConfigurationError(
            f"{shown!r} would send the access token unencrypted. Use https, or pass allow_http=True if you must."
        )
    return shown


def _check_token(token: str | None) -> None:
    if token is not None and not TOKEN.fullmatch(token):
        raise ConfigurationError(
            "The access token is not one: it starts with 'ts_' and has neither spaces nor line breaks. It was not sent."
            " Copy it again, without quotes."
        )
