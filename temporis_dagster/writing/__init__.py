"""One write of an asset: windows, checks, failures, metadata and what is recorded if it fails partway.

``steps`` is the script: read ``write`` from top to bottom. It is the same for ``TemporisIOManager``, for
``TemporisResource.materialize`` and for Dagster Pipes; what differs is the ``Output`` that it is given.

====================  ==============================================================================================
``steps``             the order of the steps
``rules``             what applies to one write: its options, the partitions of its run, their windows and series
``output``            what the steps need of the place they run in
``own_series``        refuses series that are not the asset's own, or not those of the run's partitions
``change_guard``      refuses what changes more of the stored rows than the asset allows
``plan_tables``       the tables that show it
``ghost_rows``        the stored rows that the frame does not have
``data_version``      whether the content has changed, for Dagster's automation and its mark "stale"
``versions``          the versions of what the partitions hold
``row_digest``        the number that stands for that content
``event_metadata``    the metadata of a materialization
``plots``             the small plot of what was written
====================  ==============================================================================================

None of these imports Dagster, so that they also run in a process that only reports to it. Those that do:

====================  ==============================================================================================
``dagster_output``    the output of an IO manager, and that of an asset's own body
``dagster_rules``     the rules of a write, made of what Dagster knows of a step
``own_rows``          the stored rows that a run is about
``own_versions``      data versions of the single partitions of a range
``partition_guard``   refuses series that another partition of the asset has written
``partition_series``  the series of each partition, where time does not tell partitions apart
====================  ==============================================================================================
"""
