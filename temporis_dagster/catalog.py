"""What Dagster's catalog shows of an asset or a data source: which table it is, its columns, and where they come from.

Dagster knows tables, a data source holds series. So its table is the long one that every reader gets (``timestamp``,
``name``, ``value``), and each series is listed below these columns, as one more row of the type ``series``, with its
unit. There people look for it, a search for columns finds it, and Dagster's check of schema changes compares it.

Comes in: the name of a data source, the series of an asset, what is stated about them. Goes out: metadata, under
Dagster's own keys.
Never: opens a connection, shows a password, or looks at data.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg

from temporis_dagster.dagster_keys import STORAGE, STORAGE_KIND, TABLE_NAME, URI, table_name
from temporis_dagster.data_source.connection import connect
from temporis_dagster.data_source.observations import Contracts, Series
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.series_of_parts import is_template, without_doubled_braces
from temporis_dagster.wording import counted

MOST_DEFINED = 1_000
"""Most series that a definition lists: the UI loads the definitions of all assets at once."""
MOST_LISTED = 100
"""Most series that one event lists: Dagster keeps events forever."""
MOST_LISTED_PER_RUN = 20_000
"""Most series that the events of one run list together: some 3 MB."""

SECRET_OPTIONS = {"password", "sslpassword", "token", "access_token", "api_key"}

REQUIRED = dg.TableColumnConstraints(nullable=False)
LONG = (
    dg.TableColumn("timestamp", "datetime64[s, UTC]", "When it was observed, in UTC.", REQUIRED),
    dg.TableColumn("name", "str", "The name of the series.", REQUIRED),
    dg.TableColumn("value", "float64", "The observed value.", REQUIRED),
)
"""The columns of the frame that an input gets, whatever layout was written."""
ONE_VALUE_EACH = "unique (timestamp, name)"


def storage_address(data_source: str, uri: object = None) -> dict[str, str]:
    """Return the metadata that state which table a data source is and, where it is known, of which store or service.

    Args:
        data_source: The name of the data source.
        uri: The URL of its store or service, as ``connect`` takes it; None if it is not known yet.

    Raises:
        ConfigurationError: The URL cannot be used, or is a ``dg.EnvVar``.

    Examples:
        >>> storage_address("shop", "postgresql+psycopg://writer:secret@db/metrics")["dagster/uri"]
        'postgresql+psycopg://db/metrics'
    """
    known = {} if uri is None else {URI: _without_secrets(uri)}
    return {TABLE_NAME: table_name(data_source), STORAGE_KIND: STORAGE, **known}


def ensure_no_password(metadata: Mapping[str, Any] | None) -> None:
    """Refuse a ``dagster/uri`` that holds a password: everyone who sees the asset would see it.

    Raises:
        ConfigurationError: It holds one.
    """
    given = (metadata or {}).get(URI)
    text = plain(given)
    if isinstance(text, str) and _holds_password(text):
        raise ConfigurationError(
            f"The metadata {URI} holds a password, which everyone who sees the asset would see. Pass the URL as uri= "
            "instead, which shows neither user nor password nor options."
        )


def _holds_password(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:  # a bracket where only an IPv6 address has one, such as in a password that is not encoded
        return "@" in text
    return bool(url.password or SECRET_OPTIONS & {option.lower() for option in parse_qs(url.query)})


def defined_schema(series: object, contracts: Sequence[Series]) -> dg.TableSchema:
    """Return the columns of a table before anything is written: the long ones, and the series that are declared.

    Args:
        series: The asset's own series: exact names, or a prefix; None if it does not declare them.
        contracts: What is stated about them.

    Examples:
        >>> [column.name for column in defined_schema("load_", []).columns]
        ['timestamp', 'name', 'value', 'load_*']
    """
    series = plain(series)
    families = [contract.prefix for contract in contracts if contract.prefix is not None]
    declared = [f"{series}*"] if isinstance(series, str) else [str(name) for name in _several(series)]
    labels = dict.fromkeys([*declared, *(f"{prefix}*" for prefix in families), *_names(contracts)])
    if len(labels) > MOST_DEFINED:
        return _schema([_column(f"{one.prefix}*", one) for one in _families(contracts)], counted(len(labels), "series"))
    by_label = {f"{one.prefix}*" if one.name is None else one.name: one for one in contracts}
    of = Contracts(contracts).of
    return _schema([_column(_as_named(label), by_label.get(label) or of(label)) for label in labels])


def written_schema(
    names: Iterable[str], series: object, contracts: Sequence[Series], *, partitions: int
) -> dg.TableSchema:
    """Return the columns of what one run wrote: the long ones, the series it wrote and those it declares by name.

    Args:
        names: The series that the run wrote.
        series: The asset's own series, as for ``defined_schema``.
        contracts: What is stated about them.
        partitions: How many events get it.
    """
    several = [] if isinstance(series, str) else map(str, _several(series))
    declared = [_as_named(name) for name in several if not is_template(name)]
    labels = sorted({*declared, *_names(contracts), *names})
    if len(labels) > MOST_LISTED or len(labels) * partitions > MOST_LISTED_PER_RUN:
        widest = [_column(f"{_as_named(series)}*", None)] if isinstance(series, str) else []
        families = [_column(f"{one.prefix}*", one) for one in _families(contracts)]
        return _schema(list({one.name: one for one in [*widest, *families]}.values()), counted(len(labels), "series"))
    of = Contracts(contracts).of
    return _schema([_column(label, of(label)) for label in labels])


def plain(given: object) -> Any:
    """Return a value of metadata without Dagster's wrapper, if it has one."""
    return given.value if isinstance(given, dg.MetadataValue) else given


def _as_named(text: str) -> str:
    """Return a declared name or prefix as it is stored, where doubled braces are single ones."""
    return text if is_template(text) else without_doubled_braces(text)


def _several(series: object) -> Iterable[object]:
    return series if isinstance(series, Iterable) else ()


def _names(contracts: Iterable[Series]) -> list[str]:
    return [contract.name for contract in contracts if contract.name is not None]


def _families(contracts: Iterable[Series]) -> list[Series]:
    return [contract for contract in contracts if contract.name is None]


def _schema(series: Sequence[dg.TableColumn], *constraints: str) -> dg.TableSchema:
    return dg.TableSchema([*LONG, *series], dg.TableConstraints([ONE_VALUE_EACH, *constraints]))


def _column(label: str, contract: Series | None) -> dg.TableColumn:
    """Return a series as the row of a schema. The unit is part of its type, so that another unit is a change."""
    exact = "" if label == label.lower() else f"`{label}`"  # Dagster's UI shows the names of columns in lower case
    if contract is None:
        return dg.TableColumn(label, "series", exact or None)
    limits = {
        f">= {contract.minimum}": contract.minimum is not None,
        f"<= {contract.maximum}": contract.maximum is not None,
        "whole numbers": contract.integer,
        "never falls": contract.monotone,
        f"every {contract.every}": contract.every is not None,
    }
    return dg.TableColumn(
        label,
        f"series [{contract.unit}]" if contract.unit else "series",
        ": ".join(filter(None, [exact, contract.description])) or None,
        dg.TableColumnConstraints(other=[limit for limit, stated in limits.items() if stated]),
    )


def _without_secrets(uri: object) -> str:
    """Return the URL of a store or service as the connection shows it, without opening anything."""
    if isinstance(uri, dg.EnvVar):
        raise ConfigurationError(
            "A dg.EnvVar cannot be the uri of a definition: Dagster resolves it in a run, but the catalog shows "
            "definitions. Leave uri out: each materialization shows where it was stored."
        )
    if not isinstance(uri, str) or not uri.strip():
        raise ConfigurationError(
            f"uri must be the URL of a store or service, such as 'https://api.temporis.co', got {uri!r}."
        )
    with connect(uri, token="ts_unused", allow_http=True) as connection:  # noqa: S106  no request is made
        return connection.url
