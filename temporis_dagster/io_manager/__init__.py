"""The IO manager: upserts what an asset returns, and reads back what another asset asks for.

``io_manager`` is the script: read ``handle_output`` and ``load_input`` from top to bottom. Every other room is one of
their steps:

====================  ==============================================================================================
``io_manager``        ``TemporisIOManager``: its fields, and the order of the steps
``run_series``        writing: refuses series that are not the asset's own, or not those of the run's partitions
``partition_guard``   writing: refuses series that another partition of the asset has written
``own_rows``          writing: the stored rows that a run is about
``data_version``      writing: whether the content has changed, for Dagster's automation and its mark "stale"
``row_digest``        writing: the number that stands for that content
``plots``             writing: the small plot of what was written
``input_request``     reading: the data source, the partitions and the windows that an input asks for
``read_back``         reading: the rows of that request, in one frame or in one per partition
``partition_series``  both: the series of each partition, where time does not tell partitions apart
====================  ==============================================================================================

Rooms outside: ``event_metadata`` builds the metadata, ``event_log`` reads materializations, ``dagster_failures`` turns
errors into what Dagster acts on.
"""
