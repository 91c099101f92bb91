"""Schedules and sensors that keep partitions filled and deliver what waits in a mirror.

What users build:

- ``trailing_window``: a schedule that fills the trailing partitions again at every tick.
- ``gap_fill``: a sensor that fills partitions that are missing or failed.
- ``mirror_flush``: a schedule that delivers what is pending in a mirror.

What a tick asks before it launches a run:

- ``selection``: which assets, partitions and data sources are meant.
- ``partition_row``: which partitions there are at a time, in order.
- ``tick_resource``, ``archive_gate``: the resource, and whether a data source is archived.
- ``activity``: which runs and backfills are writing at the moment.
- ``materialized``: what is stored, and as of when.
- ``left_out``: which partitions earlier ticks of the schedule left out.
- ``attempts``, ``outages``: which runs the sensor launched, and which of them failed because of an outage.
- ``gap_state``, ``gap_plan``: the state of every partition, and which gaps to fill now.
"""
