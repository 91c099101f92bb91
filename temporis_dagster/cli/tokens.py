"""``temporis tokens``: the access tokens that a service over a store takes.

Comes in: a store and a label. Goes out: a new token on stdout, once; labels.
Never: prints a token anywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from temporis_dagster.cli.exits import EPILOG, NotFound
from temporis_dagster.cli.output import OutputError, say
from temporis_dagster.cli.shared_options import account_option, json_option, store_option, tell_if_missing

if TYPE_CHECKING:
    from temporis_dagster.data_source.store.tokens import Tokens


@click.group(epilog=EPILOG)
def tokens() -> None:
    """Create, list and delete the access tokens of a store's service."""


@tokens.command(epilog=EPILOG)
@click.argument("label")
@store_option
@account_option
def create(label: str, store: str, account: str) -> None:
    """Create a token called LABEL and print it. Nothing can show it again."""
    with _tokens(store, account) as kept:
        token = kept.create(label)
        try:
            say(token)
        except (OutputError, OSError) as error:
            kept.delete(label)
            why = error.message if isinstance(error, OutputError) else "Nobody reads standard output."
            raise OutputError(f"{why} The token was deleted again, as nothing else can show it.") from None


@tokens.command("list", epilog=EPILOG)
@store_option
@account_option
@json_option
def list_(store: str, account: str, *, as_json: bool) -> None:
    """List the tokens: label, tab, when it was created."""
    with _tokens(store, account) as kept:
        known = {token.label: token.created_at.isoformat() for token in kept.all()}
    tell_if_missing(store)
    if as_json:
        say(json.dumps([{"label": label, "created_at": created_at} for label, created_at in known.items()]))
    elif known:
        say("\n".join(f"{label}\t{created_at}" for label, created_at in known.items()))


@tokens.command(epilog=EPILOG)
@click.argument("label")
@store_option
@account_option
def delete(label: str, store: str, account: str) -> None:
    """Delete the token called LABEL: from the next request on, it is unknown."""
    with _tokens(store, account) as kept:
        if not kept.delete(label):
            # Not quoted: it may be a token, pasted in the place of its label.
            raise NotFound("There is no token with that label. See which there are with: temporis tokens list")


@contextmanager
def _tokens(store: str, account: str) -> Iterator[Tokens]:
    from temporis_dagster.data_source.store import SqlStore

    opened = SqlStore(store, account=account)
    try:
        yield opened.tokens
    finally:
        opened.close()
