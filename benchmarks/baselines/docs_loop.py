"""The loop of the API's documentation, as someone with a frame writes it at first: ``iloc``, ``requests.post``.

It sends 2,000 records per request, as the documentation shows. It neither checks, nor retries, nor reports.
"""

from __future__ import annotations

import pandas as pd

SETTINGS = "`iloc` row by row, 2,000 records per request, `requests.post(json=...)`"
RECORDS = 2_000
PATH, TOKEN = "/v1/data_sources/ingest", "ts_benchmark"


def send(frame: pd.DataFrame, url: str) -> None:
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
