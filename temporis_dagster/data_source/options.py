"""How to deliver over HTTP, and how a mirror behaves: the arguments of ``connect`` about it, as checked values.

Comes in: what the caller said. Goes out: frozen options, or a ConfigurationError.
Never: connects.
"""

from __future__ import annotations

import numbers
import re
import ssl
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from temporis_dagster.errors import ConfigurationError

LONGEST_TIMEOUT_S = 86_400.0
"""Beyond some length, sockets take no timeout at all."""


@dataclass(frozen=True)
class HttpAdvice:
    """What messages advise, in the words of the surface that shows them; never what that surface lacks.

    Attributes:
        token: How to pass an access token.
        ca_bundle: How to trust a certificate authority of one's own.
        allow_http: How to let a token travel unencrypted.
        slow_line: What to change for a slow line.
        patience: What says for how long to go on without any acknowledgement: a format with a place for seconds.
        connect: How to say where the data sources are.
    """

    token: str = "pass token=, or set TEMPORIS_TOKEN"  # noqa: S105  # not a token
    ca_bundle: str = "pass verify= the file of its CA bundle, or set SSL_CERT_FILE to it"
    allow_http: str = "pass allow_http=True if you must"
    slow_line: str = "pass a larger timeout_s= or a smaller batch_rows="
    patience: str = "give_up_after_s={:g}"
    connect: str = (
        "Pass url='sqlite:///temporis.db' for an embedded data source on this machine, or set TEMPORIS_URL to such a"
        " URL; for the Temporis cloud, pass token= or set TEMPORIS_TOKEN."
    )


CALLER = re.compile(r"[\x20-\x7e]{0,200}")


@dataclass(frozen=True)
class HttpOptions:
    """How to deliver over HTTP. Every field but ``caller`` is an argument of ``connect``.

    Attributes:
        batch_rows: At most so many observations a request.
        max_body_bytes: At most so many bytes a request.
        max_in_flight: At most so many requests at once.
        requests_per_second: The fastest pace, or None.
        timeout_s: How long an attempt may take, on top of the time its body needs on a slow line.
        give_up_after_s: How long to go on without any acknowledgement.
        allow_http: Whether a token may travel unencrypted to another machine.
        verify: Whether to verify certificates, or the file of a CA bundle.
        caller: Who calls, beside this library: added to the User-Agent, as in ``"dagster-run/4f2a..."``. For code that
            connects with ``connect_with``, such as the Dagster resource.
    """

    batch_rows: int = 10_000
    max_body_bytes: int = 4_000_000
    max_in_flight: int = 4
    requests_per_second: float | None = None
    timeout_s: float = 30.0
    give_up_after_s: float = 300.0
    allow_http: bool = False
    verify: bool | str = True
    caller: str = ""

    ADVICE: ClassVar[HttpAdvice] = HttpAdvice()
    """A surface with other words has a subclass."""

    def __post_init__(self) -> None:
        for name in ("batch_rows", "max_body_bytes", "max_in_flight"):
            _check_number(name, getattr(self, name), numbers.Integral)
        for name in ("timeout_s", "give_up_after_s"):
            _check_number(name, getattr(self, name), numbers.Real)
        if self.timeout_s > LONGEST_TIMEOUT_S:
            raise ConfigurationError(f"timeout_s={self.timeout_s!r} is more than a day. Pass a smaller number.")
        if self.requests_per_second is not None:
            _check_number("requests_per_second", self.requests_per_second, numbers.Real)
        if not isinstance(self.verify, bool):
            _check_ca_bundle(self.verify)
        if not CALLER.fullmatch(self.caller):
            raise ConfigurationError(f"caller={self.caller!r} cannot stand in a header. Pass printable ASCII.")


def _check_number(name: str, number: object, kind: type) -> None:
    """A positive number, so that nothing is found out in the middle of an upsert."""
    if not isinstance(number, kind) or isinstance(number, bool) or not number > 0:  # type: ignore[operator]  # a number
        what = "whole number" if kind is numbers.Integral else "number"
        raise ConfigurationError(f"{name}={number!r} is not a positive {what}. Pass one, or leave it out.")


def _check_ca_bundle(path: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, TypeError) as error:
        raise ConfigurationError(
            f"verify={path!r} is not a CA bundle: {error}. Pass the path of a PEM file."
        ) from error


LATE_WRITE_WINDOW_S = 60.0
"""For how long a service may apply a request that it did not answer, where nobody says otherwise."""

OnUnavailable: TypeAlias = Literal["raise", "queue"]


@dataclass(frozen=True)
class MirrorAdvice:
    """What messages about a mirror advise, in the words of the surface that shows them.

    Attributes:
        mirror: How a mirror is asked for.
        without_mirror: How not to ask for one.
        need_mirror: What is said of options that need a mirror.
        queue: How to keep rows for later.
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
        skip_unchanged: Whether to send only what the service does not surely have.
        on_unavailable: Whether an upsert that cannot be delivered now raises (the rows are kept), or only keeps them.
        late_write_window_s: For how long after an attempt without an answer the service may still apply it; None, which
            only code over the core may say, for the longest that the mirror was ever used with.
        max_pending_rows: How many rows may wait in the mirror; an upsert beyond that is refused.
    """

    ADVICE: ClassVar[MirrorAdvice] = MirrorAdvice()
    """A surface with other words has a subclass."""

    skip_unchanged: bool = False
    on_unavailable: OnUnavailable = "raise"
    late_write_window_s: float | None = LATE_WRITE_WINDOW_S
    max_pending_rows: int = 50_000_000

    def __post_init__(self) -> None:
        if self.on_unavailable not in ("raise", "queue"):
            raise ConfigurationError(f"on_unavailable={self.on_unavailable!r} is unknown. Pass 'raise' or 'queue'.")
        if self.late_write_window_s is not None and not self.late_write_window_s >= 0:
            raise ConfigurationError(f"late_write_window_s={self.late_write_window_s!r} is negative. Pass seconds.")
        if not self.max_pending_rows > 0:
            raise ConfigurationError(f"max_pending_rows={self.max_pending_rows!r} is not positive. Pass a number.")
