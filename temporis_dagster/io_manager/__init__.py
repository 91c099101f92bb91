"""The IO manager: upserts what an asset returns, and reads back what another asset asks for.

Writing is a script in another room, ``steps`` of ``writing``, to which ``handle_output`` hands on. Reading is the
script ``load_input``: read it from top to bottom. The rooms are its steps:

====================  ==============================================================================================
``io_manager``        ``TemporisIOManager``: its fields, and the order of the steps
``input_request``     the data source, the partitions and the windows that an input asks for
``input_form``        as what it wants its observations: frames of pandas, Arrow or polars
``read_back``         the rows of that request, all together or for each partition, at once or in batches
``loading``           the object that the body of the asset gets
====================  ==============================================================================================

Rooms outside: ``event_log`` reads materializations, ``dagster_failures`` turns errors into what Dagster acts on.
"""
