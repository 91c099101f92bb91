"""``temporis mirror``: show what a mirror keeps, deliver it, retry it or discard it.

Comes in: a mirror, and the service that it belongs to. Goes out: counts, CSV and reports on stdout; on a terminal,
progress on stderr.
Never: deletes a row unless the command asks for it.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from temporis_dagster.cli.connecting import names_in, opened_mirror, warnings_on_stderr
from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.cli.output import say, send
from temporis_dagster.cli.shared_options import (
    data_source_option,
    give_up_after_option,
    json_option,
    only_data_source_option,
    opened_mirror_option,
    service_url_option,
    token_option,
)
from temporis_dagster.errors import DeliveryError

if TYPE_CHECKING:
    from temporis_dagster.data_source.report import Progress, UpsertReport


@click.group(epilog=EPILOG)
def mirror() -> None:
    """Show what a mirror keeps, deliver it, retry it or discard it.

    A mirror is a SQLite file or a PostgreSQL database that keeps the rows of a service: `temporis ingest --mirror`
    creates it.
    """


@mirror.command(epilog=EPILOG)
@opened_mirror_option
@only_data_source_option
@service_url_option
@token_option
@json_option
def status(*, file: str, data_source: str | None, url: str | None, token: str | None, as_json: bool) -> None:
    """Show what is pending and rejected, one data source per line.

    A line holds the data source, the number of pending rows and since when, the number of rejected rows, and the last
    error, separated by tabs.
    """
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
@opened_mirror_option
@only_data_source_option
@service_url_option
@token_option
@give_up_after_option
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for rows that must not be sent again yet."
)
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
    """Deliver the pending rows, oldest first.

    Prints a report for each data source. The first one that fails ends the command.
    """
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
@opened_mirror_option
@data_source_option
@service_url_option
@token_option
def rejected(*, file: str, data_source: str, url: str | None, token: str | None) -> None:
    """Print the rows that the service rejected as CSV.

    The columns are timestamp, name, value, reason and rejected_at.
    """
    with opened_mirror(file, url, token) as opened:
        (name,) = names_in(opened, data_source)
        frame = opened.rejected_rows(name)
    send(frame)


@mirror.command("discard-pending", epilog=EPILOG)
@opened_mirror_option
@data_source_option
@service_url_option
@token_option
@click.confirmation_option(
    "--yes",
    prompt="The pending rows will never be sent and can no longer be read. Discard them?",
    help="Discard without asking for confirmation.",
)
def discard_pending(*, file: str, data_source: str, url: str | None, token: str | None) -> None:
    """Discard the pending rows, for example of a data source that stays archived.

    They are never sent and can no longer be read. Rows that another process is sending are left alone.
    """
    with opened_mirror(file, url, token) as opened:
        (name,) = names_in(opened, data_source)
        say(f"{name}\t{opened.discard_pending(name):,} discarded\t{opened.pending(name).rows:,} pending")


@mirror.command("retry-rejected", epilog=EPILOG)
@opened_mirror_option
@only_data_source_option
@service_url_option
@token_option
def retry_rejected(*, file: str, data_source: str | None, url: str | None, token: str | None) -> None:
    """Make the rejected rows pending again, for the next flush."""
    with opened_mirror(file, url, token) as opened:
        for name in names_in(opened, data_source):
            say(f"{name}\t{opened.retry_rejected(name):,} pending again")


@mirror.command("discard-rejected", epilog=EPILOG)
@opened_mirror_option
@only_data_source_option
@service_url_option
@token_option
def discard_rejected(*, file: str, data_source: str | None, url: str | None, token: str | None) -> None:
    """Discard the rejected rows."""
    with opened_mirror(file, url, token) as opened:
        for name in names_in(opened, data_source):
            say(f"{name}\t{opened.discard_rejected(name):,} discarded")


@mirror.command(epilog=EPILOG)
@opened_mirror_option
@service_url_option
@token_option
def rebuild(*, file: str, url: str | None, token: str | None) -> None:
    """Bind the mirror to a new or emptied service and make every row pending.

    The next `temporis mirror flush` then sends everything again. Rejected rows stay rejected.
    """
    with opened_mirror(file, url, token) as opened, _progress("rebuild", None) as progress:
        count = opened.rebuild(progress)
    say(f"{count:,} pending")


@mirror.command(epilog=EPILOG)
@opened_mirror_option
@service_url_option
@token_option
def rebind(*, file: str, url: str | None, token: str | None) -> None:
    """Let the mirror accept a new access token or URL of the same account.

    Nothing is sent again.
    """
    with opened_mirror(file, url, token) as opened:
        opened.rebind()


def _progress(name: str, total: int | None) -> AbstractContextManager[Progress | None]:
    from temporis_dagster.data_source.progress import progress_bar

    return progress_bar(name, total) if sys.stderr.isatty() else nullcontext()


def _print(report: UpsertReport, as_json: bool) -> None:
    say(json.dumps(report.to_dict()) if as_json else str(report))
