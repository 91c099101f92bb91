"""Options that several commands take.

Comes in: nothing. Goes out: decorators, and what several commands say.
Never: shows the value of a token: no default, no prompt.
"""

from __future__ import annotations

import click

from temporis_dagster.cli.output import tell
from temporis_dagster.settings import trimmed


def setting(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """Without the line break that ends a secret's file. A blank variable is none; a blank option is refused."""
    if given is None or trimmed(given):
        return trimmed(given)
    source = context.get_parameter_source(parameter.name or "")
    if source is not click.core.ParameterSource.ENVIRONMENT or parameter.required:
        raise click.BadParameter("it is empty.")
    return None


store_option = click.option(
    "--store",
    envvar="TEMPORIS_STORE",
    show_envvar=True,
    callback=setting,
    required=True,
    metavar="URL",
    help="The store to act on, such as sqlite:///temporis.db.",
)
account_option = click.option(
    "--account", default="default", show_default=True, metavar="NAME", help="Whose data sources, in a store."
)
url_option = click.option(
    "--url",
    envvar="TEMPORIS_URL",
    show_envvar=True,
    callback=setting,
    is_eager=True,  # the mirror depends on it
    metavar="URL",
    help="Where the data source is: https://..., http://127.0.0.1:8008 or sqlite:///temporis.db."
    " Without it, the Temporis cloud, if there is a token and no TEMPORIS_STORE.",
)
token_option = click.option(
    "--token",
    envvar="TEMPORIS_TOKEN",
    show_envvar=True,
    callback=setting,
    metavar="TOKEN",
    help="The access token. Better in the environment: other users of this machine can see command lines.",
)


def _unless_embedded(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """A mirror; that of the environment only where the URL is one that takes a mirror."""
    mirror = setting(context, parameter, given)
    embedded = str(context.params.get("url") or "").lower().startswith("sqlite:")
    from_variable = context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.ENVIRONMENT
    return None if embedded and from_variable else mirror


mirror_option = click.option(
    "--mirror",
    envvar="TEMPORIS_MIRROR",
    show_envvar=True,
    callback=_unless_embedded,
    metavar="URL",
    help="A file that keeps every row of a service before it is sent, such as sqlite:///mirror.db, so that nothing is"
    " lost while the service is away. TEMPORIS_MIRROR does not matter to a store, which needs none.",
)
data_source_option = click.option("--data-source", required=True, metavar="NAME", help="The data source.")
give_up_after_option = click.option(
    "--give-up-after",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try again without any acknowledgement.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def tell_if_missing(store: str) -> None:
    """Say on stderr that there is no such store yet: its path may be a slip of the pen."""
    from temporis_dagster.data_source.store import SqlStore

    opened = SqlStore(store)
    if not opened.exists:
        tell(
            f"{opened.url} does not exist yet: no data sources, no tokens. Check the path, or create it with: temporis"
            " sources create NAME"
        )


def no_mirror_at(url: str) -> str:
    """What is said of a mirror that is not there."""
    return f"There is no mirror at {url}. Check its path; the first `temporis ingest --mirror` makes it."


def one_character(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    """A delimiter that CSV can have; the word tab for the one that is hard to type."""
    delimiter = "\t" if given in ("tab", "\\t") else given
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise click.BadParameter(f"{given!r} is not one character. Use , or ; or tab, for example.")
    return delimiter
