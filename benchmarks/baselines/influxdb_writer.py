"""InfluxDB's client: its batching ``write_api`` with a frame, 5,000 rows per request as its documentation advises."""

from __future__ import annotations

import pandas as pd

SETTINGS = "the batching `write_api` with `record=frame`, 5,000 rows per request as its documentation advises"
BATCH = 5_000


def send(frame: pd.DataFrame, url: str) -> None:
    """Send all rows; leaving the block waits for the last answer."""
    from influxdb_client import InfluxDBClient, WriteOptions

    batching = WriteOptions(batch_size=BATCH)
    with InfluxDBClient(url=url, token="benchmark", org="o") as client, client.write_api(batching) as writer:
        writer.write(
            bucket="metrics",
            record=frame,
            data_frame_measurement_name="metrics",
            data_frame_tag_columns=["name"],
            data_frame_timestamp_column="timestamp",
        )
