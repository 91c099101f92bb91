"""How to deliver over HTTP, and how a mirror behaves: the arguments of ``connect`` about them, as checked values.

Comes in: what the caller passed. Goes out: frozen options, or a ConfigurationError.
Never: connects, or imports a backend: the surfaces over the core subclass these options before they need one.
"""

from __future__ import annotations

import numbers
import re
import ssl
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from temporis_dagster.errors import ConfigurationError

LONGEST_TIMEOUT_S = 86_400.0
"""Sockets refuse a timeout beyond some length; a day is below it on every platform."""


@dataclass(frozen=True)
class HttpAdvice:
    """What errors advise, in the words of the surface that shows them, and never what that surface lacks.

    Attributes:
        token: How to pass an access token.
        ca_bundle: How to trust a private certificate authority.
        allow_http: How to let a token travel unencrypted.
        slow_line: What to change for a slow line.
        patience: How the limit ``give_up_after_s`` is written: a format with a place for the seconds.
        connect: How to name the place of the data sources.
    """

    token: str = "pass token=, or set TEMPORIS_TOKEN"  # noqa: S105  # not a token
    ca_bundle: str = "pass the path of its CA bundle as verify=, or set SSL_CERT_FILE to it"
    allow_http: str = "pass allow_http=True if you must"
    slow_line: str = "pass a larger timeout_s= or a smaller batch_rows="
    patience: str = "give_up_after_s={:g}"
    connect: str = (
        "Pass url='sqlite:///temporis.db' for a file on this machine or url='postgresql+psycopg://host/database' for"
        " PostgreSQL, or set TEMPORIS_URL to such a URL; for the Temporis cloud, pass token= or set TEMPORIS_TOKEN."
    )


ADAPTED = ("batch_rows", "max_in_flight")
"""The options that are adapted to the service where they are None."""

CALLER = re.compile(r"[\x20-\x7e]{0,200}")


@dataclass(frozen=True)
class HttpOptions:
    """How to deliver over HTTP. Every field but ``caller`` is an argument of ``connect``.

    Attributes:
        batch_rows: The maximum number of observations per request; None adapts it to how fast the service answers.
        max_body_bytes: The maximum size of a request body, in bytes.
        max_in_flight: The maximum number of requests at a time; None adapts it to what the service takes.
        requests_per_second: The maximum number of requests started per second; None for no limit.
        timeout_s: How many seconds an attempt may take, on top of the time that its body needs on a slow line.
        give_up_after_s: How many seconds to go on without any acknowledgement.
        allow_http: Whether a token may travel unencrypted to another machine.
        verify: Whether to verify certificates, or the path of a CA bundle.
        caller: What uses this library, appended to the User-Agent, such as ``"dagster-run/4f2a..."``. Set by code that
            connects with ``connect_with``, such as the Dagster resource.

    Raises:
        ConfigurationError: A value cannot be used.
    """

    batch_rows: int | None = None
    max_body_bytes: int = 4_000_000
    max_in_flight: int | None = None
    requests_per_second: float | None = None
    timeout_s: float = 30.0
    give_up_after_s: float = 300.0
    allow_http: bool = False
    verify: bool | str = True
    caller: str = ""

    ADVICE: ClassVar[HttpAdvice] = HttpAdvice()
    """A surface with words of its own overrides this in a subclass."""

    def __post_init__(self) -> None:
        for name in ("batch_rows", "max_body_bytes", "max_in_flight"):
            if name not in ADAPTED or getattr(self, name) is not None:
                _check_number(name, getattr(self, name), numbers.Integral)
        for name in ("timeout_s", "give_up_after_s"):
            _check_number(name, getattr(self, name), numbers.Real)
        if self.timeout_s > LONGEST_TIMEOUT_S:
            raise ConfigurationError(
                f"timeout_s must be at most a day ({LONGEST_TIMEOUT_S:,.0f} seconds), got {self.timeout_s!r}."
            )
        if self.requests_per_second is not None:
            _check_number("requests_per_second", self.requests_per_second, numbers.Real)
        if not isinstance(self.verify, bool):
            _check_ca_bundle(self.verify)
        if not CALLER.fullmatch(self.caller):
            raise ConfigurationError(f"caller must be at most 200 printable ASCII characters, got {self.caller!r}.")


def _check_number(name: str, number: object, kind: type) -> None:
    """Refuse what is not a positive number, so that no upsert fails in the middle because of it."""
    if not isinstance(number, kind) or isinstance(number, bool) or not number > 0:  # type: ignore[operator]  # a number
        what = "integer" if kind is numbers.Integral else "number"
        raise ConfigurationError(f"{name} must be a positive {what}, got {number!r}. Pass one, or leave it out.")


def _check_ca_bundle(path: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, TypeError) as error:
        raise ConfigurationError(
            f"verify={path!r} is not a CA bundle: {error}. Pass the path of a PEM file."
        ) from error


LATE_WRITE_WINDOW_S = 60.0
"""For how many seconds a service may still apply a request that it did not answer, unless the caller sets another."""

OnUnavailable: TypeAlias = Literal["raise", "queue"]


@dataclass(frozen=True)
class MirrorAdvice:
    """What errors about a mirror advise, in the words of the surface that shows them.

    Attributes:
        mirror: How to ask for a mirror.
        without_mirror: How not to ask for one.
        need_mirror: Which options need a mirror, as a clause.
        queue: How to keep observations for later.
        look: How to see what is pending.
    """

    mirror: str = "pass mirror='sqlite:///mirror.db'"
    without_mirror: str = "Leave out mirror=."
    need_mirror: str = "skip_unchanged= and on_unavailable= need a mirror"
    queue: str = "on_unavailable='queue'"
    look: str = "pending()"


@dataclass(frozen=True)
class MirrorOptions:
    """How a mirror behaves. Every field is an argument of ``connect``.

    Attributes:
        skip_unchanged: Whether to send only observations that the service is not known to have.
        on_unavailable: Whether an upsert that cannot be delivered now raises, although its observations are kept
            (``"raise"``), or only keeps them (``"queue"``).
        late_write_window_s: For how many seconds after an attempt without an answer the service may still apply it.
            None, which only code over the core may pass, stands for the longest that the mirror was ever used with.
        max_pending_rows: The maximum number of observations that may wait in the mirror. An upsert beyond that is
            refused.

    Raises:
        ConfigurationError: A value cannot be used.
    """

    ADVICE: ClassVar[MirrorAdvice] = MirrorAdvice()
    """A surface with words of its own overrides this in a subclass."""

    skip_unchanged: bool = False
    on_unavailable: OnUnavailable = "raise"
    late_write_window_s: float | None = LATE_WRITE_WINDOW_S
    max_pending_rows: int = 50_000_000

    def __post_init__(self) -> None:
        if self.on_unavailable not in ("raise", "queue"):
            raise ConfigurationError(f"on_unavailable must be 'raise' or 'queue', got {self.on_unavailable!r}.")
        if self.late_write_window_s is not None and not self.late_write_window_s >= 0:
            raise ConfigurationError(
                f"late_write_window_s must be 0 or more seconds, got {self.late_write_window_s!r}."
            )
        if not self.max_pending_rows > 0:
            raise ConfigurationError(f"max_pending_rows must be a positive number, got {self.max_pending_rows!r}.")
