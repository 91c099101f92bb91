"""Dagster Pipes, in the external process: what the IO manager shows of a write, reported from outside of Dagster.

The asset launches the process with ``TemporisResource.run_pipes``, which passes partitions and options. The process
needs no Dagster, only ``dagster-pipes``.

================  ====================================================================================================
``upsert``        checks a frame, upserts it into the asset's data source, and reports what became of it
``report_upsert`` reports an upsert that was made in another way, such as by Spark
``windows``       the partitions to write, with their time windows
================  ====================================================================================================

The rooms: ``external`` has these functions, ``extras`` reads what the asset passed, ``external_output`` gathers the
message of a write. In Dagster's process, ``launching`` passes the extras and ``reported`` turns messages into events.
"""

from temporis_dagster.pipes.external import report_upsert, upsert
from temporis_dagster.pipes.extras import Window, partition_keys, windows

__all__ = ["Window", "partition_keys", "report_upsert", "upsert", "windows"]
