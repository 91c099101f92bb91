"""Client: one attempt of one request.

Comes in: a body. Goes out: an answer, also where there was none: nothing that httpx raises leaves this room.
Never: retries, follows a redirect, or shows the token.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from temporis_dagster.contract import INGEST_PATH, Meaning, may_be_applied, meaning_of
from temporis_dagster.data_source.deadline import Deadline, longest_attempt_s
from temporis_dagster.errors import ConfigurationError

UNPROXIED = {"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None}
"""The loopback hosts for httpx: else a proxy of the environment would be given the token, without TLS."""

CONNECT_TIMEOUT_S = 10.0
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
"""What ends an attempt before its request begins."""

ERROR_BODY_BYTES = 16_384
"""How much of an error's body is read."""

QUOTED_CHARACTERS = 300
"""How much of it is quoted."""

LONGEST_WAIT_S = 10 * 365 * 86_400.0
"""What a Retry-After beyond it is taken for: some send nonsense, and infinity fits neither JSON nor a date."""

NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
"""What OpenSSL, in its versions, calls an answer that is not TLS: https was said to a port that speaks http."""


@dataclass(frozen=True)
class Answer:
    """What came back from one attempt.

    Attributes:
        status: The HTTP status, or None where there was no answer.
        words: What the service said, or what happened instead, shortened.
        retry_after_s: How long the service asks to wait.
        maybe_applied: Whether the request may have been applied all the same.
        permanent: Whether trying again cannot help, for a fault without an answer.
    """

    status: int | None
    words: str
    retry_after_s: float | None = None
    maybe_applied: bool = False
    permanent: bool = False

    @property
    def meaning(self) -> Meaning:
        """What it means for the records; no answer is a transient failure unless it is permanent."""
        if self.status is None:
            return Meaning.UNEXPECTED if self.permanent else Meaning.TRANSIENT
        return meaning_of(self.status)


class Client:
    """A pooled HTTP client for one service and one token, opened at its first request, and anew after a fork.

    Args:
        url: The base URL; a path prefix is kept.
        token: The access token, or None for a service that asks for none.
        timeout_s: How long an attempt may take, on top of the time its body needs on a slow line.
        max_in_flight: How many connections to keep.
        verify: Whether to verify certificates, or the file of a CA bundle.
        agent: Who is calling.
        wall_clock: Unix seconds now, to read a Retry-After date.
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
        # Of a compressed answer nobody could read the words.
        self._headers = {"Content-Type": "application/json", "User-Agent": agent, "Accept-Encoding": "identity"}
        self._authorization = _Token(token)
        self._timeout_s, self._max_in_flight, self._verify = timeout_s, max_in_flight, verify
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._process = os.getpid()
        self._deadline = Deadline()

    def post(self, body: bytes) -> Answer:
        """Attempt one ingest.

        Raises:
            ConfigurationError: What the environment says about proxies or certificates cannot be used.
        """
        http = self._opened()
        try:
            return self._attempt(http, body)
        except httpx.TransportError as error:
            return self._no_answer(error, body)
        except BaseException as interruption:  # noqa: BLE001  # raised again
            if isinstance(interruption, Exception) and http.is_closed:
                return Answer(None, "the connection was closed by another thread", maybe_applied=True)
            # Below this room, local variables hold the token, and some programs log those of a traceback.
            raise interruption.with_traceback(None) from None
        finally:
            if http.is_closed:
                self._deadline.close_opened()

    def _attempt(self, http: httpx.Client, body: bytes) -> Answer:
        allowed_s = longest_attempt_s(len(body), self._timeout_s)
        self._deadline.begin(allowed_s)
        with http.stream(
            "POST",
            self._endpoint,
            content=body,
            headers=self._headers,
            auth=self._authorization,
            timeout=httpx.Timeout(allowed_s, connect=min(CONNECT_TIMEOUT_S, allowed_s), pool=None),
            extensions={"trace": self._deadline.watch},
        ) as response:
            return self._answer(response)

    def _no_answer(self, error: httpx.TransportError, body: bytes) -> Answer:
        never_sent = self._deadline.sent == 0 or isinstance(error, NEVER_SENT)
        words = f"{type(error).__name__}: {error}".rstrip(": ")
        if isinstance(error, httpx.ReadTimeout) and 0 < self._deadline.sent < len(body):
            words = (
                f"only {self._deadline.sent:,} of {len(body):,} bytes could be sent in {self._deadline.used_s():.0f} s"
            )
        permanent = isinstance(error, httpx.UnsupportedProtocol) or _is_about_tls(error)
        return Answer(None, words, maybe_applied=not never_sent, permanent=permanent)

    def prepare(self) -> None:
        """Make what an attempt needs, without connecting: for callers who must know before they write anything.

        Raises:
            ConfigurationError: What the environment says about proxies or certificates cannot be used.
        """
        self._opened()

    def close(self) -> None:
        """Close the pool; the next attempt opens a new one."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def _opened(self) -> httpx.Client:
        with self._lock:
            # A forked child that used its parent's connections would read the parent's answers.
            if self._http is None or self._process != os.getpid():
                self._http, self._process = self._made(), os.getpid()
            return self._http

    def _made(self) -> httpx.Client:
        try:
            verify = ssl.create_default_context(cafile=self._verify) if isinstance(self._verify, str) else self._verify
            return httpx.Client(
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._max_in_flight),
                verify=verify,
                follow_redirects=False,
                mounts=UNPROXIED,
            )
        except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
            # Not quoted: the URL of a proxy may hold a password.
            raise ConfigurationError(
                f"No HTTP client can be made ({type(error).__name__}). Check the proxies and certificates of the"
                " environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR) and the file"
                " of verify=; a SOCKS proxy needs: pip install 'httpx[socks]'."
            ) from None

    def _answer(self, response: httpx.Response) -> Answer:
        # Read to the end, also where there is nothing to read: else the pool throws the connection away.
        words = self._authorization.without(_words(response))
        asked = _seconds(response.headers.get("Retry-After"), self._wall_clock())
        return Answer(response.status_code, _shortened(words), asked, may_be_applied(response.status_code))


class _Token(httpx.Auth):
    """Adds the token to a request, and keeps it out of everything else."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Any:  # httpx's own generator type is not public
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def without(self, words: str) -> str:
        """The words without the token, which some proxies quote back."""
        return words.replace(self._token, "<token>") if self._token else words

    def __repr__(self) -> str:
        return "<token>"


def _words(response: httpx.Response) -> str:
    """What a body says: the API's ``detail``, or whatever text there is, such as a proxy's page."""
    body = b""
    try:
        for part in response.iter_raw():
            body += part
            if len(body) >= ERROR_BODY_BYTES:
                break
    except httpx.TransportError as error:
        body = body or str(error).encode()
    return _detail(body[:ERROR_BODY_BYTES])


def _shortened(text: str) -> str:
    """One line that no terminal takes for a command."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return f"{text[:QUOTED_CHARACTERS]}…" if len(text) > QUOTED_CHARACTERS else text


def _detail(body: bytes) -> str:
    try:
        detail = orjson.loads(body)["detail"]
        return detail if isinstance(detail, str) else orjson.dumps(detail).decode()
    except (ValueError, KeyError, TypeError):  # ValueError and TypeError are also orjson's: nested too deeply
        return body.decode(errors="replace")


def _seconds(retry_after: str | None, now: float) -> float | None:
    """How long a Retry-After header, seconds or a date, asks to wait; None for one that cannot be read."""
    if retry_after is None:
        return None
    if (digits := retry_after.strip()).isdecimal():
        return min(float(digits), LONGEST_WAIT_S)
    try:
        moment = parsedate_to_datetime(retry_after)
        return min(max(timegm(moment.utctimetuple()) - now, 0.0), LONGEST_WAIT_S)
    except (TypeError, ValueError, OverflowError):
        return None


def _is_about_tls(error: BaseException | None) -> bool:
    """Whether no certificate can be verified, or there is no TLS at all: neither passes."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or getattr(error, "reason", None) in NOT_TLS:
            return True
        error = error.__cause__ or error.__context__
    return False
