"""Client: one attempt of one request.

Comes in: a body. Goes out: an answer, even if there was none: nothing that httpx raises leaves this room.
Never: retries, follows a redirect, or shows the token.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from calendar import timegm
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from temporis_dagster.contract import INGEST_PATH, Meaning, may_be_applied, meaning_of
from temporis_dagster.data_source.http.deadline import OPENED, Deadline, longest_attempt_s
from temporis_dagster.data_source.http.environment import BUNDLES, DIRECTORY, proxy_for, trusted
from temporis_dagster.data_source.http.error_body import ERROR_BODY_BYTES, ErrorText, error_text_of, shortened
from temporis_dagster.data_source.http.forked import renew_after_fork
from temporis_dagster.errors import ConfigurationError

CONNECT_TIMEOUT_S = 10.0
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
"""Errors that end an attempt before its request begins."""

LONGEST_WAIT_S = 86_400.0
"""The longest Retry-After that is believed: some services send nonsense, and a Dagster step would wait for it."""

FIRST_MOMENT, FIRST_MOMENT_IN_MS = 1e9, 1e12
"""From these numbers on, a Retry-After is a moment in 2001 or later, in Unix seconds or milliseconds."""

NO_COOKIES = DefaultCookiePolicy(allowed_domains=[])
"""Proxies set cookies, some of them new ones with each answer, and all of them would be sent back forever."""

UNKNOWN_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
"""How a resolver reports a name that does not exist. EAI_AGAIN means that the resolver is down, which is an outage."""

NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")

NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
"""What the versions of OpenSSL call an answer that is not TLS: the URL says https, and its port speaks http."""


@dataclass(frozen=True)
class Answer:
    """What came back from one attempt.

    Attributes:
        status: The HTTP status, or None if there was no answer.
        words: What the service said, or what happened instead, shortened to one line.
        retry_after_s: How many seconds the service asks to wait; None if it does not ask.
        maybe_applied: Whether the request may have been applied nevertheless.
        permanent: Whether another attempt cannot help, for a failure without an answer.
        unknown_host: Whether no name server knows the host, for a failure without an answer. That is rarely temporary.
        too_slow: Whether the time was over before the whole request was sent.
        from_api: Whether the API itself wrote the words. A proxy's words do not decide anything about records.
        meaning: What the answer means for the records. Without one, that is a transient failure unless permanent.
    """

    status: int | None
    words: str
    retry_after_s: float | None = None
    maybe_applied: bool = False
    permanent: bool = False
    unknown_host: bool = False
    too_slow: bool = False
    from_api: bool = True
    meaning: Meaning = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Found once: an answer is asked for it in a dozen places.
        object.__setattr__(self, "meaning", self._meaning())

    def _meaning(self) -> Meaning:
        if self.status is None and self.unknown_host:
            return Meaning.UNCLEAR
        if self.status is None:
            return Meaning.UNEXPECTED if self.permanent else Meaning.TRANSIENT
        return meaning_of(self.status, from_api=self.from_api)


class Client:
    """A pooled HTTP client for one service and one token, opened at its first request, and anew after a fork.

    Args:
        url: The base URL; a path prefix is kept.
        token: The access token, or None for a service that does not require one.
        timeout_s: How many seconds an attempt may take, on top of the time that its body needs on a slow line.
        max_in_flight: The maximum number of idle connections to keep.
        verify: Whether to verify certificates, or the path of a CA bundle.
        agent: The User-Agent header.
        wall_clock: Returns the Unix seconds of now, to read a date in a Retry-After header.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout_s: float,
        max_in_flight: int,
        verify: bool | str,
        agent: str,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = url.rstrip("/") + INGEST_PATH
        # No compression, so that the text of an error can be read.
        self._headers = {"Content-Type": "application/json", "User-Agent": agent, "Accept-Encoding": "identity"}
        self._authorization = _Token(token)
        self._timeout_s, self._max_in_flight, self._verify = timeout_s, max_in_flight, verify
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._pool: _Pool | None = None
        self._deadline = Deadline()
        renew_after_fork(self)

    def post(self, body: bytes) -> Answer:
        """Attempt one ingest.

        Raises:
            ConfigurationError: The proxies or certificates that the environment names cannot be used.
        """
        with self._opened() as http:
            try:
                return self._attempt(http, body)
            except httpx.TransportError as error:
                return self._no_answer(error, body)
            except BaseException as interruption:  # noqa: BLE001  # raised again
                # Below this frame, local variables hold the token, and some programs log the variables of a traceback.
                raise interruption.with_traceback(None) from None

    def _attempt(self, http: httpx.Client, body: bytes) -> Answer:
        allowed_s = longest_attempt_s(len(body), self._timeout_s)
        self._deadline.begin(allowed_s)
        with http.stream(
            "POST",
            self._endpoint,
            content=_Content(body),
            headers={**self._headers, "Content-Length": str(len(body))},
            auth=self._authorization,
            timeout=httpx.Timeout(allowed_s, connect=min(CONNECT_TIMEOUT_S, allowed_s), pool=None),
            extensions={"trace": self._trace},
        ) as response:
            return self._answer(response)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Put every stream that httpcore opens under the deadline, before it uses the stream."""
        if event.endswith(OPENED):
            self._deadline.watch(info["return_value"])

    def _no_answer(self, error: httpx.TransportError, body: bytes) -> Answer:
        never_sent = self._deadline.sent == 0 or isinstance(error, NEVER_SENT)
        words = f"{type(error).__name__}: {error}".rstrip(": ")
        too_slow = isinstance(error, httpx.ReadTimeout) and 0 < self._deadline.sent < len(body)
        if too_slow:
            words = (
                f"only {self._deadline.sent:,} of {len(body):,} bytes could be sent in {self._deadline.used_s():.0f} s"
            )
        permanent = isinstance(error, httpx.UnsupportedProtocol) or _is_about_tls(error)
        unknown = any(isinstance(link, socket.gaierror) and link.errno in UNKNOWN_HOST for link in _chain(error))
        return Answer(
            None, words, maybe_applied=not never_sent, permanent=permanent, unknown_host=unknown, too_slow=too_slow
        )

    def prepare(self) -> None:
        """Make what an attempt needs without connecting, for callers that must know before they write anything.

        Raises:
            ConfigurationError: The proxies or certificates that the environment names cannot be used.
        """
        # Not counted as an attempt: the caller's thread may be interrupted between counting and taking it back, and a
        # pool with an attempt that never ends would never be closed.
        with self._lock:
            self._current_pool()

    def close(self) -> None:
        """Close the pool, or leave that to the last attempt that uses it; the next attempt opens a new one.

        Attempts that are under way keep their sockets, because closing one does not wake the thread that reads it.
        """
        with self._lock:
            pool, self._pool = self._pool, None
            unused = pool is not None and not pool.attempts
        if pool is not None and unused:
            pool.http.close()

    def begin_anew(self) -> None:
        """Start anew in a forked child: with its own connections, and a lock that no thread of the parent holds."""
        self._lock, self._pool, self._deadline = threading.Lock(), None, Deadline()

    @contextmanager
    def _opened(self) -> Iterator[httpx.Client]:
        with self._lock:
            pool = self._current_pool()
            pool.attempts += 1
        try:
            yield pool.http
        finally:
            with self._lock:
                pool.attempts -= 1
                abandoned = not pool.attempts and pool is not self._pool
            if abandoned:
                pool.http.close()

    def _current_pool(self) -> _Pool:
        if self._pool is None:
            self._pool = _Pool(self._made())
        return self._pool

    def _made(self) -> httpx.Client:
        made = self._made_or_why_not()
        if isinstance(made, str):
            raise ConfigurationError(
                f"The HTTP client cannot be created ({made}). Check the proxies and certificates that the environment"
                f" names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, {', '.join(BUNDLES)}, {DIRECTORY}). A SOCKS proxy"
                " requires: pip install 'httpx[socks]'."
            )
        return made

    def _made_or_why_not(self) -> httpx.Client | str:
        """Make the client, or return the name of an error only: local variables hold a proxy URL with its password."""
        try:
            verify, proxy = trusted(self._verify), proxy_for(self._endpoint)
            by_tls = proxy is not None and httpx.URL(proxy).scheme == "https"  # httpx refuses a context for any other
            if verify is True and not by_tls and httpx.URL(self._endpoint).scheme == "http":
                # Nothing is encrypted here, and to read certifi's certificates takes 27 ms. This trusts none at all.
                verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context = verify if by_tls and isinstance(verify, ssl.SSLContext) else None
            return httpx.Client(
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._max_in_flight),
                verify=verify,
                follow_redirects=False,
                proxy=None if proxy is None else httpx.Proxy(proxy, ssl_context=context),
                cookies=CookieJar(NO_COOKIES),
                trust_env=False,
            )
        except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
            return type(error).__name__

    def _answer(self, response: httpx.Response) -> Answer:
        # Read completely, even if there is nothing to read: otherwise the pool drops the connection.
        body, is_complete = _body(response)
        said = error_text_of(body, response.headers, is_complete=is_complete)
        return answer_of(response.status_code, said, response.headers, self._wall_clock(), self._authorization.without)


def answer_of(
    status: int,
    said: ErrorText,
    headers: Mapping[str, str],
    now: float,
    without_secrets: Callable[[str], str] = lambda words: words,
) -> Answer:
    """Make an answer of an HTTP response.

    Args:
        status: The HTTP status.
        said: The text of its body.
        headers: The headers of the response.
        now: The Unix seconds of now, to read a date in a Retry-After header.
        without_secrets: Removes from a text what must not be shown.
    """
    return Answer(
        status,
        shortened(without_secrets(said.text)),
        _seconds(headers.get("Retry-After"), now),
        may_be_applied(status, from_api=said.from_api),
        from_api=said.from_api,
    )


@dataclass
class _Pool:
    """Connections, and the number of attempts that are using them."""

    http: httpx.Client
    attempts: int = 0


class _Content:
    """A body that is forgotten once it is sent.

    The requests and responses of httpx refer to each other, so they are in memory until Python looks for such circles,
    and every body would be, too: 50 MB of them were measured.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        body, self._body = self._body, b""
        yield body


class _Token(httpx.Auth):
    """Add the token to requests, and keep it out of everything else."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Any:  # httpx's own generator type is not public
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def without(self, words: str) -> str:
        """Remove the token from a text, because some proxies quote it."""
        return words.replace(self._token, "<token>") if self._token else words

    def __repr__(self) -> str:
        return "<token>"


def _body(response: httpx.Response) -> tuple[bytes, bool]:
    """Read the first bytes of a body. Also returns whether they are the whole body."""
    body = b""
    try:
        for part in response.iter_raw():
            body += part
            if len(body) >= ERROR_BODY_BYTES:
                return body[:ERROR_BODY_BYTES], False
    except httpx.TransportError as error:
        return body or str(error).encode(), False
    return body, True


def _seconds(retry_after: str | None, now: float) -> float | None:
    """Return how many seconds a Retry-After header, a number or a date, asks to wait; None if it cannot be read."""
    if retry_after is None:
        return None
    if NUMBER.fullmatch(text := retry_after.strip()):
        return min(_wait(float(text), now), LONGEST_WAIT_S)
    try:
        moment = parsedate_to_datetime(retry_after)
        return min(max(timegm(moment.utctimetuple()) - now, 0.0), LONGEST_WAIT_S)
    except (TypeError, ValueError, OverflowError):
        return None


def _wait(number: float, now: float) -> float:
    """Read a number as seconds to wait, unless that would be a lifetime: then it is the moment itself."""
    if number < FIRST_MOMENT:
        return number
    return max(number / (1000 if number >= FIRST_MOMENT_IN_MS else 1) - now, 0.0)


def _is_about_tls(error: BaseException) -> bool:
    """Tell whether the certificate cannot be verified, or there is no TLS at all: neither is temporary."""
    return any(
        isinstance(link, ssl.SSLCertVerificationError) or getattr(link, "reason", None) in NOT_TLS
        for link in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Iterate over an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
