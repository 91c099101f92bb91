"""Connecting: the connection of the commands that act as a client.

Comes in: what --url, --token and the like said. Goes out: a connection; what the library warns of, on stderr.
Never: takes the cloud for meant where a store of one's own is set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from temporis_dagster.cli.http_options import PLACES, CommandLineHttpOptions
from temporis_dagster.cli.output import tell
from temporis_dagster.data_source.options import MirrorAdvice, MirrorOptions
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.settings import from_environment

if TYPE_CHECKING:
    from temporis_dagster.data_source.connection import Temporis


class MirrorFlags(MirrorOptions):
    """``MirrorOptions`` of the command line, where advice spells options and commands."""

    ADVICE = MirrorAdvice(
        mirror="pass --mirror sqlite:///mirror.db",
        without_mirror="Leave out --mirror.",
        need_mirror="--on-unavailable queue needs a mirror",
        queue="--on-unavailable queue",
        look="temporis mirror status",
    )


@contextmanager
def connected(
    url: str | None,
    token: str | None,
    account: str,
    give_up_after_s: float = 300.0,
    mirror: str | None = None,
    mirroring: MirrorOptions | None = None,
) -> Iterator[Temporis]:
    """A connection for the length of a command.

    Raises:
        ConfigurationError: It is not said, or not clear, where to.
    """
    from temporis_dagster.data_source.connection import connect_with

    if url is None and from_environment("TEMPORIS_STORE"):
        raise ConfigurationError(
            "TEMPORIS_STORE is set, but that is for the commands that manage a store, and without --url this one would"
            f" go to the Temporis cloud. Say which is meant: {PLACES}."
        )
    if url is None and token is None:
        raise ConfigurationError(f"There is no URL to connect to. Pass {PLACES}.")
    options = CommandLineHttpOptions(give_up_after_s=give_up_after_s)
    with connect_with(
        options, url, token, account=account, mirror=mirror, mirroring=mirroring or MirrorFlags()
    ) as temporis:
        yield temporis


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Show what the library warns of, such as waiting for a service that is down."""
    handler, logger = _OnStderr(logging.WARNING), logging.getLogger("temporis_dagster")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _OnStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(f"Warning: {record.getMessage()}")
