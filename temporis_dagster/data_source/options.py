"""How to deliver over HTTP: the arguments of ``connect`` that tune it, as one checked value.

Comes in: what the caller said. Goes out: frozen options, or a ConfigurationError.
Never: connects.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from temporis_dagster.errors import ConfigurationError


@dataclass(frozen=True)
class RemoteOptions:
    """How to deliver over HTTP. Every field is an argument of ``connect``.

    Attributes:
        batch_rows: At most so many observations a request.
        max_body_bytes: At most so many bytes a request.
        max_in_flight: At most so many requests at once.
        requests_per_second: The fastest pace, or None.
        timeout_s: How long an attempt may take, on top of the time its body needs on a slow line.
        give_up_after_s: How long to go on without any acknowledgement.
        allow_http: Whether a token may travel unencrypted to another machine.
        verify: Whether to verify certificates, or the file of a CA bundle.
    """

    batch_rows: int = 10_000
    max_body_bytes: int = 4_000_000
    max_in_flight: int = 4
    requests_per_second: float | None = None
    timeout_s: float = 30.0
    give_up_after_s: float = 300.0
    allow_http: bool = False
    verify: bool | str = True

    def __post_init__(self) -> None:
        for name in ("batch_rows", "max_body_bytes", "max_in_flight", "timeout_s", "give_up_after_s"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name}={getattr(self, name)!r} is not positive. Pass a larger number.")
        if self.requests_per_second is not None and not self.requests_per_second > 0:
            raise ConfigurationError("requests_per_second must be positive. Pass None for no limit.")
        if not isinstance(self.verify, bool):
            _check_ca_bundle(self.verify)


def _check_ca_bundle(path: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, TypeError) as error:
        raise ConfigurationError(
            f"verify={path!r} is not a CA bundle: {error}. Pass the path of a PEM file."
        ) from error
