"""Asset checks on data sources, and on the observations that assets write to them.

Is each data source in the state that is expected of it?

- ``archive_state``: the blocking checks, and the question behind them.
- ``archive_sensor``: the same checks, evaluated by a sensor instead of a run.
- ``gate``: the job selection in which these checks run before the writers.
- ``unchecked``: reports the series checks that a failed archive check prevented.

Are the observations of an asset complete, recent and plausible?

- ``series_checks``: builds the checks; one step per data source.
- ``expectations``: the arguments, validated, and the assets that write.
- ``series_data``: one read of a data source, as arrays sorted by series.
- ``gaps_and_bounds``, ``freshness``, ``pending``, ``row_counts``: the checks themselves.
- ``latest_written``: the latest materialization of each partition.
- ``spacing``: how far apart two neighbouring observations may be.

``finding`` is what every check returns, and how Dagster shows it.
"""
