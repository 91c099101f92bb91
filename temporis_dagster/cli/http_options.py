"""How to deliver: the options of an HTTP service, where advice is in the words of the command line.

Comes in: the options of a command. Goes out: options for a connection.
Never: decides differently from its base class.
"""

from __future__ import annotations

from temporis_dagster.data_source.options import HttpAdvice, RemoteOptions


class HttpOptions(RemoteOptions):
    """``RemoteOptions`` of the command line.

    >>> HttpOptions().ADVICE.patience.format(60)
    '--give-up-after 60'
    """

    ADVICE = HttpAdvice(
        token="pass --token, or set TEMPORIS_TOKEN",  # noqa: S106  # not a token
        ca_bundle="set SSL_CERT_FILE to the file of its CA bundle",
        allow_http="connect from Python with allow_http=True if you must",
        slow_line="connect from Python with a larger timeout_s or a smaller batch_rows",
        patience="--give-up-after {:g}",
    )
