"""The loop of the API's documentation by someone who has noticed that ``iloc`` takes long: one tuple per row.

It also keeps its connection open. It neither checks, nor retries, nor reports.
"""

from __future__ import annotations

import pandas as pd

from benchmarks.baselines.docs_loop import PATH, RECORDS, TOKEN

SETTINGS = "`itertuples`, 2,000 records per request, `post(json=...)` of one `requests.Session`"


def send(frame: pd.DataFrame, url: str) -> None:
    """Make records of tuples, and post them over one connection."""
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
