"""How to deliver: the options of an HTTP service, where advice is in the words of the command line.

Comes in: the options of a command. Goes out: options for a connection.
Never: decides differently from its base class.
"""

from __future__ import annotations

from temporis_dagster.data_source.options import HttpAdvice, HttpOptions

PLACES = (
    "--url http://127.0.0.1:8008 for a local service, --url sqlite:///temporis.db for a store without one, or --url"
    " https://api.temporis.co with a token for the Temporis cloud; or set TEMPORIS_URL"
)


class CommandLineHttpOptions(HttpOptions):
    """``HttpOptions`` of the command line.

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
