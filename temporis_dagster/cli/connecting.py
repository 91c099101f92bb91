"""Connecting: a connection or a mirror for the length of a command, with advice in the words of the command line.

Comes in: what --url, --token, --mirror and the like were given. Goes out: a connection or a mirror; the warnings of the
library on stderr.
Never: connects to the cloud where a store of the user's own is set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from temporis_dagster.cli.exits import NotFound
from temporis_dagster.cli.output import tell
from temporis_dagster.cli.shared_options import no_mirror_at
from temporis_dagster.contract import CLOUD_URL
from temporis_dagster.data_source.options import HttpAdvice, HttpOptions, MirrorAdvice, MirrorOptions
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.settings import from_environment

if TYPE_CHECKING:
    from temporis_dagster.data_source.connection import Temporis
    from temporis_dagster.data_source.mirror import Mirror
    from temporis_dagster.data_source.source import DataSource

PLACES = (
    "--url http://127.0.0.1:8008 for a local service, --url sqlite:///temporis.db or --url"
    " postgresql+psycopg://host/database for a store without a service, or --url https://api.temporis.co with a token"
    " for the Temporis cloud; or set TEMPORIS_URL"
)


class CommandLineHttpOptions(HttpOptions):
    """``HttpOptions`` of the command line, where advice spells options.

    >>> CommandLineHttpOptions().ADVICE.patience.format(60)
    '--give-up-after 60'
    """

    ADVICE = HttpAdvice(
        token="pass --token, or set TEMPORIS_TOKEN",  # noqa: S106  # not a token
        ca_bundle="set SSL_CERT_FILE to the file of its CA bundle",
        allow_http="open a tunnel to that machine (ssh -L) and use its end at 127.0.0.1",
        slow_line="ingest the file in smaller parts",
        connect=f"Pass {PLACES}.",
        patience="--give-up-after {:g}",
    )


class CommandLineMirrorOptions(MirrorOptions):
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
    """Open a connection for the length of a command.

    Args:
        url: URL of a service or store; None for the Temporis cloud.
        token: The access token of a service.
        account: The account in a store.
        give_up_after_s: Seconds without any acknowledgement after which to give up.
        mirror: URL of a mirror; None for none.
        mirroring: How the mirror behaves.

    Raises:
        ConfigurationError: It is not given, or not clear, where the data sources are.
    """
    from temporis_dagster.data_source.connection import connect_with

    if url is None and from_environment("TEMPORIS_STORE"):
        raise ConfigurationError(
            "TEMPORIS_STORE is set, but it is for the commands that manage a store. Without --url, this command would"
            f" use the Temporis cloud. Name the one you mean: pass {PLACES}."
        )
    if url is None and token is None:
        raise ConfigurationError(f"There is no URL to connect to. Pass {PLACES}.")
    options = CommandLineHttpOptions(give_up_after_s=give_up_after_s)
    with connect_with(
        options, url, token, account=account, mirror=mirror, mirroring=mirroring or CommandLineMirrorOptions()
    ) as temporis:
        yield temporis


@contextmanager
def readable_source(
    data_source: str, url: str | None, token: str | None, account: str, mirror: str | None
) -> Iterator[DataSource]:
    """Open a data source, for the length of a command, that is to be read and not written.

    Raises:
        NotFound: There is no such mirror, or it has no such data source.
    """
    with connected(url, token, account, mirror=mirror) as temporis:
        if mirror is not None:  # which takes an unknown name or path for one that has no data yet
            with opened_mirror(mirror, url, token) as opened:
                names_in(opened, data_source)
        yield temporis.data_source(data_source)


@contextmanager
def opened_mirror(file: str, url: str | None, token: str | None, give_up_after_s: float = 300.0) -> Iterator[Mirror]:
    """Open a mirror that exists for the length of a command.

    Raises:
        NotFound: There is no mirror at that place.
    """
    from temporis_dagster.data_source.http.target import HttpTarget
    from temporis_dagster.data_source.mirror import Mirror

    remote = HttpTarget(url or CLOUD_URL, token, CommandLineHttpOptions(give_up_after_s=give_up_after_s))
    opened = Mirror(file, remote, token, CommandLineMirrorOptions(late_write_window_s=None))
    try:
        if not opened.exists:
            raise NotFound(no_mirror_at(opened.mirror_url))
        yield opened
    finally:
        opened.close()


def names_in(opened: Mirror, data_source: str | None) -> list[str]:
    """Return the data sources of a mirror, or only the given one after checking that it exists.

    Raises:
        NotFound: The mirror has no such data source.
    """
    known = opened.data_sources()
    if data_source is not None and data_source not in known:
        raise NotFound(
            f"The mirror {opened.mirror_url} has no data source {data_source!r}. It has {', '.join(known) or 'none'}."
        )
    return known if data_source is None else [data_source]


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Print the warnings of the library on stderr, such as that a service is down and the command waits for it."""
    handler, logger = _OnStderr(logging.WARNING), logging.getLogger("temporis_dagster")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _OnStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(f"Warning: {record.getMessage()}")
