"""HttpTarget: the data sources of an HTTP service, as a target.

Comes in: a tally, or a question about a data source. Goes out: the tally settled, or an error that says what to do.
Never: encodes, retries or waits itself; reads observations back (the API has no way to).
"""

from __future__ import annotations

import platform
import threading
from collections import defaultdict
from pathlib import PurePosixPath

import httpx

from temporis_dagster._version import __version__
from temporis_dagster.contract import INGEST_PATH, NOT_FOUND, TOKEN, Meaning
from temporis_dagster.data_source.http.attempts import Reply, reply_to
from temporis_dagster.data_source.http.client import Answer, Client
from temporis_dagster.data_source.http.delivery import Delivery, Transport, Watcher, Workers, in_a_worker
from temporis_dagster.data_source.http.encoding import Encoder, empty_body
from temporis_dagster.data_source.http.forked import renew_after_fork
from temporis_dagster.data_source.http.retry import RetryPolicy
from temporis_dagster.data_source.http.throttle import Clock, Throttle
from temporis_dagster.data_source.local_service import LOOPBACK, to_manage
from temporis_dagster.data_source.options import HttpOptions
from temporis_dagster.data_source.report import Tally, UpsertReport
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
from temporis_dagster.settings import trimmed

API_PATHS = (INGEST_PATH, *(parent.as_posix() for parent in PurePosixPath(INGEST_PATH).parents[:-1]))
"""What a base URL must not end with."""


class HttpTarget:
    """The data sources of one account of an HTTP service.

    Args:
        url: The base URL; a path prefix is kept.
        token: The access token.
        options: How to deliver.
        clock: What time it is.
        transport: What makes the attempts; by default an HTTP client.

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
        self._url, token = _checked_url(trimmed(url), options), trimmed(token)
        _check_token(token, self._url, options)
        self._client = None if transport is not None else self._make_client(token)
        self._transport: Transport = transport or self._client  # type: ignore[assignment]  # one of them is not None
        self._clock = clock
        self.begin_anew()
        renew_after_fork(self)

    def begin_anew(self) -> None:
        """At first, and in a forked child: nothing is under way, nobody waits, and nothing is known of the service."""
        self._throttle = Throttle(
            RetryPolicy(give_up_after_s=self._options.give_up_after_s, said=self._options.ADVICE.patience),
            max_in_flight=self._options.max_in_flight,
            requests_per_second=self._options.requests_per_second,
            service=self._url,
            clock=self._clock,
        )
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._workers: dict[str, Workers] = {}

    def _make_client(self, token: str | None) -> Client:
        return Client(
            self._url,
            token,
            timeout_s=self._options.timeout_s,
            max_in_flight=self._options.max_in_flight,
            verify=self._options.verify,
            agent=f"temporis-dagster/{__version__} Python/{platform.python_version()} {self._options.caller}".rstrip(),
        )

    @property
    def url(self) -> str:
        """The base URL, without user name or password."""
        return self._url

    @property
    def options(self) -> HttpOptions:
        """How it delivers."""
        return self._options

    def prepare(self) -> None:
        """Make the HTTP client, without connecting: for a mirror, which must know before it writes a row.

        Raises:
            ConfigurationError: What the environment says about proxies or certificates cannot be used.
        """
        if self._client is not None:
            self._client.prepare()

    def upsert(self, tally: Tally) -> None:
        """Deliver the tally's observations. Upserts into one data source take turns, also after an interrupted one."""
        self.prepare()
        with self._turns[tally.data_source]:
            self._workers.get(tally.data_source, Workers()).wait()
            workers = self._workers[tally.data_source] = Workers()
            refusal = self.deliver(tally, workers=workers)
        if refusal is not None:
            raise self.error(refusal, tally.data_source, tally.report("The upsert stopped before these were sent."))

    def deliver(self, tally: Tally, *, watcher: Watcher | None = None, workers: Workers | None = None) -> Reply | None:
        """Deliver without taking turns; why it stopped early, if it did.

        Args:
            tally: What to deliver; no other request may carry any of its keys meanwhile.
            watcher: Hears of every attempt.
            workers: The threads, for callers who wait for those that an interruption left behind.
        """
        options, observations = self._options, tally.observations
        encoder = Encoder(
            tally.data_source, observations, batch_rows=options.batch_rows, max_body_bytes=options.max_body_bytes
        )
        expected = -(-len(observations) // options.batch_rows)
        delivery = Delivery(self._transport, self._throttle, encoder, tally, workers or Workers(), watcher)
        return delivery.run(min(options.max_in_flight, expected))

    def archive_state(self, data_source: str) -> ArchiveState:
        """Ask with an ingest of nothing: a service that refuses an empty batch leaves it unknown."""
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
        """Let go of connections."""
        if self._client is not None:
            self._client.close()

    def error(self, reply: Reply, data_source: str, report: UpsertReport) -> DeliveryError:
        """The error for a reply that is not what was hoped for."""
        answer, where = reply.answer, f"Data source {data_source!r} at {self._url}"
        doubtful = f", and {report.unknown:,} may be" if report.unknown else ""
        done = (
            f" {report.stored:,} of {report.observations_in:,} observations were stored{doubtful}."
            if report.observations_in
            else ""
        )
        if report.pending:
            done += f" {report.pending:,} are kept in the mirror and go out with a later upsert or flush."
        said = (f"{answer.status}: {answer.words}" if answer.status else answer.words).rstrip(".: ")
        if reply.gave_up and answer.meaning in (Meaning.INVALID, Meaning.TOO_LARGE):
            return RejectedObservationsError(
                f"{where} refuses observations ({said}), and {reply.gave_up}.{done} Correct the rejected rows, then"
                " send the unsent ones again.",
                data_source=data_source,
                report=report,
            )
        if reply.gave_up:
            attempts = f"{reply.attempts} attempt{'s' * (reply.attempts != 1)}"
            return UnavailableError(
                f"{where} is unavailable: {said}. Gave up after {attempts} because {reply.gave_up}."
                f"{done}{self._hint(answer)} Run the upsert again later: repeating it is safe.",
                data_source=data_source,
                report=report,
                attempts=reply.attempts,
                retry_after_s=answer.retry_after_s,
            )
        if answer.status is None:
            return DeliveryError(
                f"{where} cannot be reached: {said}.{done} {_UNREACHABLE_ADVICE}, {self._options.ADVICE.ca_bundle}.",
                data_source=data_source,
                report=report,
            )
        kind, advice = _FINAL.get(answer.meaning, DeliveryError), self._advice(answer, data_source)
        return kind(f"{where} answered {said}.{done} {advice}", data_source=data_source, report=report)

    def _hint(self, answer: Answer) -> str:
        """What may be behind a failure that was tried again."""
        if answer.unknown_host:
            return " No name server knows the host: check the URL, and the proxy if there is one."
        if answer.too_slow:
            return f" For a slow line, {self._options.ADVICE.slow_line}."
        is_foreign = answer.meaning is Meaning.UNCLEAR and not answer.from_api
        return f" {_FOREIGN_ADVICE}" if is_foreign else ""

    def _advice(self, answer: Answer, data_source: str) -> str:
        """What to do about an answer that is final."""
        create, unarchive = (to_manage(self._url, f"sources {verb} {data_source}") for verb in ("create", "unarchive"))
        if answer.meaning is Meaning.NOT_AUTHENTICATED:
            new = to_manage(self._url, "tokens create LABEL")
            return f"Check the access token (TEMPORIS_TOKEN) and the URL, or create a new token {new}."
        if answer.meaning is Meaning.ARCHIVED:
            return f"It takes no observations. Unarchive it first {unarchive}."
        if answer.meaning is Meaning.NOT_FOUND and answer.words == NOT_FOUND:
            return f"Correct its name or the URL, or create it {create}."
        if answer.meaning is Meaning.NOT_FOUND:
            return f"The API itself would say {NOT_FOUND!r}: check the URL and its path, then the name."
        return _FOREIGN_ADVICE


_STATES = {
    Meaning.STORED: ArchiveState.ACTIVE,
    Meaning.ARCHIVED: ArchiveState.ARCHIVED,
    Meaning.INVALID: ArchiveState.UNKNOWN,
    Meaning.TOO_LARGE: ArchiveState.UNKNOWN,
}
_UNREACHABLE_ADVICE = (
    "Its certificate cannot be verified, or it does not speak TLS: check the URL (http or https, and the port); for a"
    " certificate authority of your own"
)
_FOREIGN_ADVICE = (
    "That is not an answer of the Temporis API, whose errors are JSON with a detail. Check the URL, and any proxy or"
    " gateway in between."
)
_FINAL: dict[Meaning, type[DeliveryError]] = {
    Meaning.NOT_AUTHENTICATED: AuthenticationError,
    Meaning.NOT_FOUND: DataSourceNotFoundError,
    Meaning.ARCHIVED: DataSourceArchivedError,
}


def _checked_url(url: str, options: HttpOptions) -> str:
    parsed = _parsed(url)
    if parsed is None:
        raise ConfigurationError("The URL cannot be read. Pass one such as 'https://api.temporis.co'.")
    has_more = bool(parsed.userinfo or parsed.query or parsed.fragment or "@" in parsed.path)
    bare = {"username": None, "password": None, "query": None, "fragment": None}
    parsed = parsed.copy_with(**bare) if "@" not in parsed.path else parsed.copy_with(path="/", **bare)
    shown = str(parsed).rstrip("/")
    if not parsed.host or has_more:
        raise ConfigurationError(
            f"{shown!r} has no host, or has more than host, port and path. A token is a setting of"
            f" its own: {options.ADVICE.token}."
        )
    if parsed.port is not None and not 0 < parsed.port < 2**16:
        raise ConfigurationError(f"{shown!r} has a port that cannot be. Ports are from 1 to 65535.")
    if parsed.path.rstrip("/").endswith(API_PATHS):
        raise ConfigurationError(
            f"{shown!r} has the API's own path in it, which is added for each request. Leave it out: end the URL before"
            " '/v1'."
        )
    if parsed.scheme == "http" and parsed.host not in LOOPBACK and not options.allow_http:
        raise ConfigurationError(
            f"{shown!r} would send the access token unencrypted. Use https, or {options.ADVICE.allow_http}."
        )
    return shown


def _parsed(url: str) -> httpx.URL | None:
    """None for what cannot be read: an error that came of that of httpx would carry the passwords in its frames."""
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")  # else it fails when a connection is made
    except (httpx.InvalidURL, TypeError, UnicodeError):
        return None
    is_blank = "%" in parsed.host and ":" not in parsed.host  # an escaped blank, say; in an IPv6 address it is a zone
    return None if is_blank else parsed


def _check_token(token: object, url: str, options: HttpOptions) -> None:
    if token is None and url.startswith("https:"):
        raise ConfigurationError(f"{url} asks for an access token, and there is none: {options.ADVICE.token}.")
    if token is not None and not (isinstance(token, str) and TOKEN.fullmatch(token)):
        raise ConfigurationError(
            "The access token is not one: it starts with 'ts_' and has neither spaces nor line breaks. It was not sent."
            " Copy it again, without quotes."
        )
