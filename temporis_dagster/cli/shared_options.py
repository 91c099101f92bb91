"""Shared options: the click options that several commands take, and the checks of what they are given.

Comes in: nothing. Goes out: decorators, checked values, and texts that several commands print.
Never: shows the value of a token: options for tokens have no default and no prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from temporis_dagster.cli.output import tell
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.settings import hidden_url, trimmed

if TYPE_CHECKING:
    from datetime import datetime

Command = TypeVar("Command", bound=Callable[..., Any])

STORES = ("sqlite:", "sqlite+", "postgres")
"""How the URLs of stores begin."""

LOOKING_S = 2.0
"""How long to go on, in seconds, if the database of a store cannot be reached when it is only looked at."""


def setting(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """Return an option without surrounding white space, such as the line break that ends the file of a secret.

    A blank environment variable counts as not set; a blank option is refused. What may contain a secret is hidden from
    tracebacks that show local variables.
    """
    if given is None or trimmed(given):
        return hidden_url(trimmed(given))
    source = context.get_parameter_source(parameter.name or "")
    if source is not click.core.ParameterSource.ENVIRONMENT or parameter.required:
        raise click.BadParameter("It must not be empty.")
    return None


def _refuse_url(context: click.Context, _parameter: click.Parameter, given: str | None) -> None:
    if given is not None:
        raise click.UsageError(
            "There is no --url here, because this command works on a store, not on a service. Pass the URL of the store"
            " with --store.",
            context,
        )


def _refuse_store(context: click.Context, _parameter: click.Parameter, given: str | None) -> None:
    if given is not None:
        raise click.UsageError(
            "There is no --store here, because this command works on a service or on a store. Pass the URL of either"
            " with --url.",
            context,
        )


_STORE_OPTIONS = (
    click.option(
        "--store",
        envvar="TEMPORIS_STORE",
        callback=setting,
        required=True,
        metavar="URL",
        help="URL of the store, such as sqlite:///temporis.db (with four slashes before an absolute path) or"
        " postgresql+psycopg://host/database. Defaults to the TEMPORIS_STORE environment variable, which is safer for a"
        " URL with a password: other users of this machine can see command lines.",
    ),
    click.option(
        "--url",
        callback=_refuse_url,
        is_eager=True,  # before the lack of --store is reported
        expose_value=False,
        hidden=True,
        help="Refused, with the name of the option that other commands have instead.",
    ),
)


def store_option(command: Command) -> Command:
    """Give a command ``--store``, and an error for ``--url`` that names it."""
    return with_options(command, _STORE_OPTIONS)


account_option = click.option(
    "--account",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Account in the store. A service takes the account from the token instead.",
)
_URL_OPTIONS = (
    click.option(
        "--url",
        envvar="TEMPORIS_URL",
        callback=setting,
        is_eager=True,  # the mirror depends on it
        metavar="URL",
        help="URL of the service or store: https://..., http://127.0.0.1:8008, sqlite:///temporis.db (with four slashes"
        " before an absolute path) or postgresql+psycopg://host/database. Defaults to the TEMPORIS_URL environment"
        " variable, and without that to the Temporis cloud, if a token is given and TEMPORIS_STORE is not set.",
    ),
    click.option(
        "--store",
        callback=_refuse_store,
        is_eager=True,
        expose_value=False,
        hidden=True,
        help="Refused, with the name of the option that this command has instead.",
    ),
)


def url_option(command: Command) -> Command:
    """Give a command ``--url``, and an error for ``--store`` that names it."""
    return with_options(command, _URL_OPTIONS)


service_url_option = click.option(
    "--url",
    envvar="TEMPORIS_URL",
    callback=setting,
    metavar="URL",
    help="URL of the service that the mirror belongs to. Defaults to the TEMPORIS_URL environment variable, and without"
    " that to the Temporis cloud.",
)
token_option = click.option(
    "--token",
    envvar="TEMPORIS_TOKEN",
    callback=setting,
    metavar="TOKEN",
    help="Access token of the service. Defaults to the TEMPORIS_TOKEN environment variable, which is safer: other users"
    " of this machine can see command lines.",
)


def _unless_store(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """Return the mirror; one from the environment does not apply to the URL of a store, which needs no mirror."""
    mirror = setting(context, parameter, given)
    is_store = str(context.params.get("url") or "").lower().startswith(STORES)
    from_variable = context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.ENVIRONMENT
    return None if is_store and from_variable else mirror


mirror_option = click.option(
    "--mirror",
    envvar="TEMPORIS_MIRROR",
    callback=_unless_store,
    metavar="URL",
    help="URL of a mirror, such as sqlite:///mirror.db or postgresql+psycopg://host/database, that keeps every row"
    " before it is sent, so that nothing is lost while the service is unavailable. Defaults to the TEMPORIS_MIRROR"
    " environment variable, which is safer for a URL with a password, and is ignored for a store.",
)
opened_mirror_option = click.option(
    "--mirror",
    "file",
    envvar="TEMPORIS_MIRROR",
    callback=setting,
    required=True,
    metavar="URL",
    help="URL of the mirror, such as sqlite:///mirror.db or postgresql+psycopg://host/database. Defaults to the"
    " TEMPORIS_MIRROR environment variable, which is safer for a URL with a password.",
)
data_source_option = click.option("--data-source", required=True, metavar="NAME", help="Name of the data source.")
only_data_source_option = click.option(
    "--data-source",
    metavar="NAME",
    help="Name of the only data source to act on. Defaults to all data sources of the mirror.",
)
give_up_after_option = click.option(
    "--give-up-after",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up once the service or the database has acknowledged nothing for this long.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def rows_options(verb: str) -> Callable[[Command], Command]:
    """Return the options that say which rows a command prints, or deletes: a window of time, and names."""
    options = (
        click.option(
            "--start",
            metavar="TIME",
            help=f"First time to {verb}: ISO 8601 with an offset or Z, or Unix seconds. Defaults to the first"
            " observation.",
        ),
        click.option(
            "--end",
            metavar="TIME",
            help="Time to stop before, in the same form. Defaults to after the last observation.",
        ),
        click.option(
            "--name",
            "names",
            multiple=True,
            metavar="SERIES",
            help=f"{verb.capitalize()} only this series. May be repeated. Defaults to all series.",
        ),
    )
    return lambda command: with_options(command, options)


def with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """Give a command some options, which ``--help`` lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def tell_if_missing(store: str, tell: Callable[[str], None] = tell) -> None:
    """Report on stderr that a store does not exist yet, since its URL may be misspelled.

    Args:
        store: The URL of the store.
        tell: What writes the report.

    Raises:
        UnavailableError: The database of the store could not be reached, not even after some seconds.
        StoreError: The store cannot be used.
    """
    from temporis_dagster.data_source.store import SqlStore

    opened = SqlStore(store)
    opened.wait_for_locks(LOOKING_S)
    try:
        if not opened.exists:
            tell(
                f"The store {opened.url} does not exist yet, so it has no data sources and no tokens. Check the URL, or"
                " create the store with: temporis sources create NAME"
            )
    finally:
        opened.close()


def no_mirror_at(url: str) -> str:
    """Return the message about a mirror that does not exist."""
    return f"There is no mirror at {url}. Check the URL; the first `temporis ingest --mirror` creates it."


def one_character(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    """Return a delimiter after checking that CSV can have it. The word "tab" stands for the character."""
    delimiter = "\t" if given in ("tab", "\\t") else given
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise click.BadParameter(f"It must be one ASCII character, got {given!r}. Use , or ; or tab, for example.")
    return delimiter


def thousands(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    """Return a separator of thousands after checking that it is one. The words blank and space stand for a blank."""
    separator = " " if given in ("blank", "space", " ") else given
    if separator and (len(separator) > 1 or separator.isalnum() or separator in "+-"):
        raise click.BadParameter(f"It must be one character, got {given!r}. Use . or , or ' or blank, for example.")
    return separator


def moment(option: str, text: str | None) -> datetime | int | None:
    """Return a time that an option was given, as a bound.

    Raises:
        ConfigurationError: It is not a time with an offset.
    """
    import pandas as pd

    if text is None:
        return None
    with suppress(ValueError):  # also of a number with thousands of digits
        if text.removeprefix("-").isdecimal():
            return int(text)
    moment = pd.to_datetime(text, format="ISO8601", errors="coerce")
    if pd.isna(moment) or moment.tzinfo is None:
        raise ConfigurationError(
            f"--{option} must be a time with an offset, got {text!r}. Write it as in 2024-06-20T00:00Z, or as Unix"
            " seconds."
        )
    return moment


def share_or_rows(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | int | None:
    """Return a limit: an integer is a number of rows, a number with a point a share of the stored rows."""
    if given is None:
        return None
    try:
        return int(given) if given.isdecimal() else float(given)
    except ValueError:
        raise click.BadParameter("It must be a share, such as 0.25, or a whole number of rows.") from None
