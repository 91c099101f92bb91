"""The URL of a database to read from: where it comes from, and which parts of it may be shown.

Comes in: ``{{ env.NAME }}``, another template or a URL, from YAML; driver errors. Goes out: an engine; text to show.
Never: reads an environment variable before a run needs it, or shows a user, a password or an option.
"""

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import dagster as dg

from temporis_dagster.errors import ConfigurationError
from temporis_dagster.settings import trimmed

if TYPE_CHECKING:
    import sqlalchemy as sa

FROM_ENVIRONMENT = re.compile(r"\{\{\s*env\.(\w+)\s*\}\}|\{\{\s*env\(\s*['\"](\w+)['\"]\s*\)\s*\}\}")
HIDDEN = "***"


@dataclass(frozen=True)
class DatabaseUrl:
    """A URL, or the name of the environment variable that holds it. No repr shows the text.

    Attributes:
        text: The SQLAlchemy URL of a database; it may hold a password.
        variable: The environment variable to read instead, when a run needs the URL.
    """

    text: str = field(default="", repr=False)
    variable: str | None = None

    def reveal(self) -> str:
        """Return the text of the URL.

        Raises:
            ConfigurationError: The environment variable is not set, or the text is empty.
        """
        text = trimmed(os.environ.get(self.variable, "") if self.variable else self.text)
        if text:
            return text
        raise ConfigurationError(
            f"The environment variable {self.variable} is not set. Set it to the database's URL where assets run."
            if self.variable
            else "The url is empty. Set it to the database's URL, preferably as '{{ env.WAREHOUSE_URL }}'."
        )


def database_url(given: object) -> object:
    """Turn a string or a ``dg.EnvVar`` into a DatabaseUrl; return anything else unchanged, for pydantic to refuse."""
    if isinstance(given, dg.EnvVar):
        return DatabaseUrl(variable=given.env_var_name)
    return DatabaseUrl(given) if isinstance(given, str) else given


def resolve_url(context: dg.ResolutionContext, given: str) -> object:
    """Keep ``{{ env.NAME }}`` as a name, so that no definition holds the password; fill in other templates."""
    found = FROM_ENVIRONMENT.fullmatch(given.strip())
    return DatabaseUrl(variable=found[1] or found[2]) if found else database_url(context.resolve_value(given))


def engine_of(url: DatabaseUrl) -> "sa.Engine":
    """Return an engine for the URL. It does not connect yet.

    Raises:
        ConfigurationError: The environment variable is not set, its value is not a URL, or the driver is not installed.
    """
    import sqlalchemy as sa

    text = url.reveal()
    try:
        found = sa.make_url(text)
        if found.host is not None and "@" in f"{found.host}{found.database or ''}":
            raise ConfigurationError(
                "The database's URL has more than one '@' (it is not shown here, as it may hold a password). "
                "Percent-encode an '@' in the user or the password as %40."
            )
        return sa.create_engine(found)
    except ImportError as error:
        raise ConfigurationError(
            f"The database driver is not installed: {error}. Install it where runs are executed (for PostgreSQL: "
            "pip install 'psycopg[binary]'), or name another driver in the URL, as in postgresql+psycopg2://."
        ) from None
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            "The database's URL cannot be used (it is not shown here, as it may hold a password). Use a URL like "
            "postgresql+psycopg://user:password@host/name, and percent-encode special characters in the password."
        ) from None


def place_of(engine: "sa.Engine") -> str:
    """Return the URL without user, password and options, any of which may be a secret.

    If an option has an '@', the host may be the tail of a password that was not encoded, so it is hidden as well.
    """
    import sqlalchemy as sa

    url = engine.url
    if any("@" in value for value in _options(url)):
        return f"{url.drivername}://{HIDDEN}"
    return sa.URL.create(url.drivername, host=url.host, port=url.port, database=url.database).render_as_string()


def without_secrets(text: str, engine: "sa.Engine") -> str:
    """Return the text with everything hidden that the URL holds besides driver, host, port and database.

    The password and whole options are hidden wherever they occur, in any spelling. The user and the words of an option,
    which may be short, are hidden where they are whole words.
    """
    url = engine.url
    options = _options(url)
    whole = [url.render_as_string(hide_password=False), str(url.password or ""), *options]
    words = [url.username or "", *(word for option in options for word in re.split(r"[\s=;,&]+", option))]
    if any("@" in option for option in options):
        whole += [part for part in (url.host, url.database) if part]
    for secret in sorted({form for one in whole for form in _written(one)}, key=len, reverse=True):
        if len(secret) > 1:
            text = re.sub(re.escape(secret), HIDDEN, text, flags=re.IGNORECASE)
    for word in sorted({form for one in words for form in _written(one)}, key=len, reverse=True):
        if word:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
    return text


def _options(url: "sa.URL") -> list[str]:
    return [value for values in url.normalized_query.values() for value in values]


def _written(secret: str) -> set[str]:
    """Return the ways in which a secret may be written: plain, percent-encoded, with quotes and backslashes escaped."""
    escaped = secret.replace("\\", "\\\\")
    quoted = {text.replace("'", mark) for text in (secret, escaped) for mark in ("'", "\\'", "''")}
    return {secret, quote_plus(secret), quote(secret, safe=""), *quoted}
