"""The loop of the API's documentation, as someone with a frame writes it: ``iloc``, 2,000 records, ``requests.post``.

Two forms. With ``iloc``, row by row, as most write it at first; and with ``itertuples`` and one connection kept open,
as someone writes it who has noticed that the first takes long. Neither checks, retries, or reports.
"""

from __future__ import annotations

import pandas as pd

SETTINGS = "`iloc` row by row, 2,000 records per request, `requests.post(json=...)`"
RECORDS = 2_000
PATH, TOKEN = "/v1/data_sources/ingest", "ts_benchmark"


def by_iloc(frame: pd.DataFrame, url: str) -> None:
    """Slice the frame, and take each row by its position."""
    import requests

    for start in range(0, len(frame), RECORDS):
        batch = frame.iloc[start : start + RECORDS]
        records = []
        for position in range(len(batch)):
            row = batch.iloc[position]
            records.append(
                {"timestamp": int(row["timestamp"].timestamp()), "name": row["name"], "value": float(row["value"])}
            )
        response = requests.post(
            f"{url}{PATH}",
            json={"data_source": "metrics", "records": records},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )
        response.raise_for_status()


def by_itertuples(frame: pd.DataFrame, url: str) -> None:
    """The same, one tuple per row, over a session."""
    import requests

    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        for start in range(0, len(frame), RECORDS):
            batch = frame.iloc[start : start + RECORDS]
            records = [
                {"timestamp": int(row.timestamp.timestamp()), "name": row.name, "value": row.value}
                for row in batch.itertuples(index=False)
            ]
            body = {"data_source": "metrics", "records": records}
            session.post(f"{url}{PATH}", json=body, timeout=30).raise_for_status()
