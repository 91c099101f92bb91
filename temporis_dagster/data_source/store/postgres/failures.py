"""What can go wrong in a PostgreSQL database, in words.

Comes in: an exception of the driver. Goes out: what happened, what to do, and whether it passes, as a signal.
Never: raises, or quotes a user or a password.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from temporis_dagster.data_source.store.errors import StoreUnusableError

ADVICE_BY_CLASS = {
    "08": "Check that the server runs and can be reached.",
    "28": "Check the user and the password: those of the URL (where % is written %25, and @ %40), of PGUSER and"
    " PGPASSWORD, or of the password file.",
    "42": "Restore the tables of the store from a backup, or use another database or schema.",
    "53": "Free the resource on the server, and try again.",
    "57": "Find out from the server's log why it ended this, and try again.",
    "58": "Check the server's disk and its log.",
    "XX": "Check the server's log: its data may be damaged.",
}
"""What to do, by the first two characters of an SQLSTATE."""

ADVICE = {
    "2200H": "Use a store in another database or schema: this one has no more numbers for new names.",
    "25006": (
        "Connect to the primary server, as a user whose default_transaction_read_only is off. With several hosts in the"
        " URL, add target_session_attrs=read-write."
    ),
    "3F000": "Create the schema that the search_path names first, and try again.",
    "40001": "Find out which other transactions write to these tables, and try again.",
    "40P01": "Find out which other transactions write to these tables, and try again.",
    "42501": (
        "Grant this user the rights that docs/postgres.md lists (docs/mirror.md those for a mirror), or let the owner"
        " of the tables make or migrate the store once."
    ),
    "42P07": "Rename or drop it: this library did not make it, and leaves it alone. Or use another database or schema.",
    "53100": "Free some space on the server's disk and try again.",
    "53300": "Raise max_connections of the server, or use a connection pooler such as PgBouncer.",
    "54000": "Shorten the name that was to be stored: PostgreSQL's index takes some 2,700 bytes.",
    "55P03": "Find out what holds a transaction open (pg_stat_activity tells), end it and try again.",
    "57014": "Raise statement_timeout for this user, or find out what makes the server so slow.",
}
"""What to do, by SQLSTATE, where the class is not enough."""

PASSING = {
    *("08000", "08001", "08003", "08004", "08006", "08P01"),  # connections that failed or were lost
    *("40001", "40P01", "55P03"),  # other transactions
    "23505",  # a key that another program inserted, which does not take the lock of the data source
    *("25P03", "25P04", "57P01", "57P02", "57P03", "57P05"),  # the server ended the session, or is starting
    "53300",  # too many connections
}
"""SQLSTATEs of what passes by itself: the transaction was rolled back, and the next one may succeed."""

NUMBERED = ("temporis_account", "temporis_data_source", "temporis_series", "temporis_token")
"""Tables whose rows get their ids from sequences."""

NUMBERS_ADVICE = (
    "Set the sequence of that table to its largest id with setval(): sequences are not part of logical replication, and"
    " a restored copy may have old ones."
)

REFUSED = (
    ("password authentication failed", "28"),
    ("no password supplied", "28"),
    ("authentication failed", "28"),
    ("no pg_hba.conf entry", "28"),
    ("is not permitted to log in", "28"),
    (re.compile(r"role .* does not exist"), "28"),
    ("permission denied for database", "42501"),
    (re.compile(r"database .* does not exist"), "3D000"),
    ("certificate", "TLS"),
    ("server does not support SSL", "TLS"),
    ("SSL error", "TLS"),
    ("channel binding", "28"),
    ("definition of service", "service"),
    ("could not translate host name", "host"),
    ("failed to resolve host", "host"),
    ("bad value for", "value"),
    (re.compile(r"invalid \S+ (value|number|option)"), "value"),
)
"""Parts of the messages of connections that could not be made, for reasons that waiting does not change. libpq gives no
SQLSTATE for these."""

CONNECTING_ADVICE = {
    "28": ADVICE_BY_CLASS["28"],
    "42501": "Grant this user CONNECT on the database, and try again.",
    "3D000": "Create the database, or correct its name in the URL.",
    "TLS": "Check sslmode, sslrootcert and the other TLS options of the URL, and the certificate of the server.",
    "service": "Check the service's name in the URL or in PGSERVICE, and the service file.",
    "host": "Check the name of the host in the URL or in PGHOST.",
    "value": "Check the options of the URL.",
}

UNREACHABLE_ADVICE = "Check that the server runs and can be reached, and try again."


class PostgresUnusableError(StoreUnusableError):
    """Signal: the database failed.

    Args:
        what: What happened, to follow "The store ... failed:", without a full stop.
        advice: What to do, as a sentence.
        passes: Whether it passes by itself, so that the same transaction may be tried again.
        retryable: Whether the caller may try again later.
        waited: Whether the database has waited for it to pass already, for as long as it may wait at once.
    """

    def __init__(self, what: str, advice: str, *, passes: bool, retryable: bool, waited: bool = False) -> None:
        super().__init__(what, advice, retryable=retryable)
        self.passes, self.waited = passes, waited


def failure_of(error: Exception, secrets: Sequence[str] = ()) -> PostgresUnusableError | None:
    """Say what an exception means for the store; None if it is not the driver's or SQLAlchemy's.

    Args:
        error: The exception.
        secrets: What no message may quote.
    """
    if isinstance(error, PostgresUnusableError):
        return error
    if not isinstance(error, SQLAlchemyError | psycopg.Error | OSError):
        return None
    # Chain the driver's own error: SQLAlchemy's would put thousands of parameters into the traceback.
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    failure = _failure(cause, secrets)
    # Neither may keep its frames, which a traceback with variables would show: the driver's connections and cursors
    # name the user in their texts.
    error.__traceback__ = cause.__traceback__ = None
    failure.__cause__ = cause
    return failure


def connecting_failure(message: str, secrets: Sequence[str]) -> PostgresUnusableError:
    """Say why a connection could not be made. The exception itself is not chained: its frames hold the password.

    Args:
        message: The driver's message.
        secrets: What no message may quote.
    """
    kind = next((kind for part, kind in REFUSED if re.search(part, message)), None)
    what = f"no connection could be made ({_shown(message.removeprefix('connection failed: '), secrets)})"
    if kind is None:
        return PostgresUnusableError(what, UNREACHABLE_ADVICE, passes=True, retryable=True)
    return PostgresUnusableError(what, CONNECTING_ADVICE[kind], passes=False, retryable=False)


def _failure(cause: BaseException, secrets: Sequence[str]) -> PostgresUnusableError:
    state = getattr(cause, "sqlstate", None)
    if state is None:
        if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | OSError):
            return PostgresUnusableError(
                f"the connection was lost ({_shown(str(cause), secrets)})",
                UNREACHABLE_ADVICE,
                passes=True,
                retryable=True,
            )
        state = ""
    if "during recovery" in str(cause):
        state = "25006"  # the server says "feature not supported" of a transaction that is to write
    advice = ADVICE.get(state) or ADVICE_BY_CLASS.get(state[:2]) or "Check the server's log and try again."
    passes = state in PASSING
    if passes and isinstance(cause, psycopg.errors.UniqueViolation) and cause.diag.table_name in NUMBERED:
        advice, passes = NUMBERS_ADVICE, False
    return PostgresUnusableError(
        _shown(str(cause), secrets),
        advice,
        passes=passes,
        retryable=passes or state in ("57014", "25006"),
        waited=state == "55P03",
    )


def _shown(message: str, secrets: Sequence[str]) -> str:
    """Return a message of the driver as part of a sentence, without what it must not quote, in one line."""
    for secret in secrets:
        message = message.replace(secret, "***")
    message = re.sub(r'(user|role) "[^"]*"', r'\1 "***"', message)
    return " ".join(message.split()).rstrip(".") or "the driver gave no reason"
