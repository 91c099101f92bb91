"""QuestDB's client: ``Sender.dataframe`` over HTTP, which is compiled and sends values as binary doubles.

It sends to a table of a database, not to an API of JSON, so this is what a client can reach, not an alternative. Its
defaults send 75,000 rows per request, one request at a time.
"""

from __future__ import annotations

import pandas as pd

SETTINGS = "`Sender.dataframe` over HTTP with its defaults (75,000 rows per request), binary doubles"


def send(frame: pd.DataFrame, url: str) -> None:
    """Send all rows, and wait for the last answer."""
    from questdb import Sender

    with Sender.from_conf(f"http::addr={url.removeprefix('http://')};protocol_version=2;") as sender:
        sender.dataframe(frame, table_name="metrics", symbols=["name"], at="timestamp")
