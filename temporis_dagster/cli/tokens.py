"""``temporis tokens``: the access tokens that a service over a store accepts.

Comes in: a store and a label. Goes out: a new token on stdout, once; labels.
Never: prints a token anywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from temporis_dagster.cli.exits import EPILOG, NotFound
from temporis_dagster.cli.output import OutputError, say
from temporis_dagster.cli.shared_options import account_option, json_option, store_option, tell_if_missing

if TYPE_CHECKING:
    from temporis_dagster.data_source.store.tokens import Token, Tokens


@click.group(epilog=EPILOG)
def tokens() -> None:
    """Create, list and delete the access tokens of a store."""


@tokens.command(epilog=EPILOG)
@click.argument("label")
@store_option
@account_option
@click.option(
    "--dashboard", is_flag=True, help="Create a token that opens the dashboard of `temporis serve` and cannot ingest."
)
def create(label: str, store: str, account: str, *, dashboard: bool) -> None:
    """Create an access token and print it.

    LABEL is the name by which it is listed and deleted. The token cannot be shown again. It is for ingests, unless
    --dashboard is given; no token does both.
    """
    with _tokens(store, account) as kept:
        token = kept.create(label, dashboard=dashboard)
        try:
            say(token)
        except (OutputError, OSError) as error:
            kept.delete(label)
            why = error.message if isinstance(error, OutputError) else "Standard output is a closed pipe."
            raise OutputError(f"{why} The token was deleted again, because it cannot be shown later.") from None


@tokens.command("list", epilog=EPILOG)
@store_option
@account_option
@json_option
def list_(store: str, account: str, *, as_json: bool) -> None:
    """List the access tokens, one per line.

    A line holds the label, the time of creation, the kind (ingest or dashboard) and the minute of the last use,
    separated by tabs; "never" stands for a token that has not been used.
    """
    with _tokens(store, account) as kept:
        known = [_shown(token) for token in kept.all()]
    tell_if_missing(store)
    if as_json:
        say(json.dumps(known))
    elif known:
        say("\n".join(_line(**token) for token in known))


@tokens.command(epilog=EPILOG)
@click.argument("label")
@store_option
@account_option
def delete(label: str, store: str, account: str) -> None:
    """Delete an access token by its label.

    A running service refuses the token from the next request on.
    """
    with _tokens(store, account) as kept:
        if not kept.delete(label):
            # The label is not quoted: a user may have pasted the token itself.
            raise NotFound("The store has no token with that label. List the labels with: temporis tokens list")


def _shown(token: Token) -> dict[str, Any]:
    return {
        "label": token.label,
        "created_at": token.created_at.isoformat(),
        "dashboard": token.dashboard,
        "last_used_at": token.last_used_at and token.last_used_at.isoformat(),
    }


def _line(label: str, created_at: str, dashboard: bool, last_used_at: str | None) -> str:
    return "\t".join([label, created_at, "dashboard" if dashboard else "ingest", last_used_at or "never"])


@contextmanager
def _tokens(store: str, account: str) -> Iterator[Tokens]:
    from temporis_dagster.data_source.store import SqlStore

    opened = SqlStore(store, account=account)
    try:
        yield opened.tokens
    finally:
        opened.close()
