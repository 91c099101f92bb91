"""``temporis mirror``: what a mirror keeps, and what is to become of it.

Comes in: a mirror, and the service that it stands in front of. Goes out: counts, CSV, reports; progress, on a
terminal, on stderr.
Never: deletes a row without being asked to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from temporis_dagster.cli.connecting import MirrorFlags, warnings_on_stderr
from temporis_dagster.cli.exits import EPILOG, NotFound
from temporis_dagster.cli.http_options import CommandLineHttpOptions
from temporis_dagster.cli.output import say, send
from temporis_dagster.cli.shared_options import (
    give_up_after_option,
    json_option,
    no_mirror_at,
    setting,
    token_option,
    url_option,
)
from temporis_dagster.contract import CLOUD_URL
from temporis_dagster.errors import DeliveryError

if TYPE_CHECKING:
    from temporis_dagster.data_source.mirror import Mirror
    from temporis_dagster.data_source.report import Progress, UpsertReport

mirror_option = click.option(
    "--mirror",
    "file",
    envvar="TEMPORIS_MIRROR",
    show_envvar=True,
    callback=setting,
    required=True,
    metavar="URL",
    help="The mirror, such as sqlite:///mirror.db.",
)
one_source_option = click.option("--data-source", metavar="NAME", help="Only this data source.")


@click.group(epilog=EPILOG)
def mirror() -> None:
    """Look at what a mirror keeps, deliver it, or send everything again."""


@mirror.command(epilog=EPILOG)
@mirror_option
@one_source_option
@url_option
@token_option
@json_option
def status(*, file: str, data_source: str | None, url: str | None, token: str | None, as_json: bool) -> None:
    """Say how much is pending and rejected, of which data source, since when, and the last error."""
    with opened_mirror(file, url, token) as opened:
        known = {name: opened.pending(name) for name in names_in(opened, data_source)}
    rows: list[dict[str, Any]] = [
        {
            "data_source": name,
            "pending": info.rows,
            "rejected": info.rejected,
            "oldest": info.oldest and info.oldest.isoformat(timespec="seconds"),
            "last_error": info.last_error,
        }
        for name, info in known.items()
    ]
    if as_json:
        say(json.dumps(rows))
    for row in [] if as_json else rows:
        since = f" since {row['oldest']}" if row["oldest"] else ""
        error = f"\t{row['last_error']}" if row["last_error"] else ""
        say(f"{row['data_source']}\t{row['pending']:,} pending{since}\t{row['rejected']:,} rejected{error}")


@mirror.command(epilog=EPILOG)
@mirror_option
@one_source_option
@url_option
@token_option
@give_up_after_option
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for rows that may not be sent yet.")
@json_option
def flush(
    *,
    file: str,
    data_source: str | None,
    url: str | None,
    token: str | None,
    give_up_after: float,
    wait: bool,
    as_json: bool,
) -> None:
    """Deliver what is pending, oldest first."""
    with warnings_on_stderr(), opened_mirror(file, url, token, give_up_after) as opened:
        for name in names_in(opened, data_source):
            try:
                with _progress(name, opened.pending(name).rows) as progress:
                    report = opened.flush(name, wait=wait, progress=progress)
            except DeliveryError as error:
                _print(error.report, as_json)
                raise
            _print(report, as_json)


@mirror.command(epilog=EPILOG)
@mirror_option
@click.option("--data-source", required=True, metavar="NAME", help="The data source.")
@url_option
@token_option
def rejected(*, file: str, data_source: str, url: str | None, token: str | None) -> None:
    """Print the rows that the service refused as CSV: timestamp, name, value, reason, rejected_at."""
    with opened_mirror(file, url, token) as opened:
        (name,) = names_in(opened, data_source)
        frame = opened.rejected_rows(name)
    send(frame)


@mirror.command("discard-pending", epilog=EPILOG)
@mirror_option
@click.option("--data-source", required=True, metavar="NAME", help="The data source.")
@url_option
@token_option
@click.confirmation_option("--yes", prompt="What is pending will never be sent, and can be read no longer. Discard it?")
def discard_pending(*, file: str, data_source: str, url: str | None, token: str | None) -> None:
    """Forget what is pending, such as for a data source that stays archived.

    What another process sends at this moment is left alone.
    """
    with opened_mirror(file, url, token) as opened:
        (name,) = names_in(opened, data_source)
        say(f"{name}\t{opened.discard_pending(name):,} discarded\t{opened.pending(name).rows:,} pending")


@mirror.command("retry-rejected", epilog=EPILOG)
@mirror_option
@one_source_option
@url_option
@token_option
def retry_rejected(*, file: str, data_source: str | None, url: str | None, token: str | None) -> None:
    """Let the rejected rows be pending again, for the next flush."""
    with opened_mirror(file, url, token) as opened:
        for name in names_in(opened, data_source):
            say(f"{name}\t{opened.retry_rejected(name):,} pending again")


@mirror.command("discard-rejected", epilog=EPILOG)
@mirror_option
@one_source_option
@url_option
@token_option
def discard_rejected(*, file: str, data_source: str | None, url: str | None, token: str | None) -> None:
    """Forget the rejected rows."""
    with opened_mirror(file, url, token) as opened:
        for name in names_in(opened, data_source):
            say(f"{name}\t{opened.discard_rejected(name):,} discarded")


@mirror.command(epilog=EPILOG)
@mirror_option
@url_option
@token_option
def rebuild(*, file: str, url: str | None, token: str | None) -> None:
    """Send everything again: bind the mirror to a new or emptied service, and let every row be pending.

    Then flush. Rejected rows stay as they are.
    """
    with opened_mirror(file, url, token) as opened, _progress("rebuild", None) as progress:
        count = opened.rebuild(progress)
    say(f"{count:,} pending")


@mirror.command(epilog=EPILOG)
@mirror_option
@url_option
@token_option
def rebind(*, file: str, url: str | None, token: str | None) -> None:
    """The same account has a new access token or URL: let the mirror take it. Nothing is sent again."""
    with opened_mirror(file, url, token) as opened:
        opened.rebind()


@contextmanager
def opened_mirror(file: str, url: str | None, token: str | None, give_up_after_s: float = 300.0) -> Iterator[Mirror]:
    """A mirror that is there, for the length of a command.

    Raises:
        NotFound: There is none.
    """
    from temporis_dagster.data_source.http.target import HttpTarget
    from temporis_dagster.data_source.mirror import Mirror

    remote = HttpTarget(url or CLOUD_URL, token, CommandLineHttpOptions(give_up_after_s=give_up_after_s))
    opened = Mirror(file, remote, token, MirrorFlags(late_write_window_s=None))
    try:
        if not opened.exists:
            raise NotFound(no_mirror_at(opened.mirror_url))
        yield opened
    finally:
        opened.close()


def names_in(opened: Mirror, data_source: str | None) -> list[str]:
    """The data sources of a mirror, or the one that is meant.

    Raises:
        NotFound: It has no such data source.
    """
    known = opened.data_sources()
    if data_source is not None and data_source not in known:
        raise NotFound(
            f"The mirror {opened.mirror_url} has no data source {data_source!r}. It has {', '.join(known) or 'none'}."
        )
    return known if data_source is None else [data_source]


def _progress(name: str, total: int | None) -> AbstractContextManager[Progress | None]:
    from temporis_dagster.data_source.progress import progress_bar

    return progress_bar(name, total) if sys.stderr.isatty() else nullcontext()


def _print(report: UpsertReport, as_json: bool) -> None:
    say(json.dumps(report.to_dict()) if as_json else str(report))
