"""From a frame to observations: every check that runs before anything is sent.

Comes in: a DataFrame or Series, and the options of the caller. Goes out: observations, or an error that lists the rows.
Never: sends anything, or modifies the frame.

The rooms, in the order in which data passes
--------------------------------------------
``options``                how to read a frame: the keyword arguments of ``upsert``, checked
``series``                 what a caller states about a series: its contract
  ``interval``               how far apart its observations are meant to be
``advice``                 the texts of "what to do", which the command line replaces with its own
``observe``                the way in: calls the rooms below, raises the error, warns
``layout``                 which columns are timestamp, name and value: a table
  ``time_index``             whether the index holds the timestamps
  ``dtypes``                 few plain dtypes from the many of pandas
``cells``                  every cell of the table, checked
  ``names``                  series names become codes
  ``values``                 numbers become float64
    ``number_texts``           text that is a number written another way
  ``timestamps``             moments of any dtype become Unix seconds
    ``calendar_numbers``       numbers such as 20240620 are dates, and refused
    ``epoch_numbers``          numbers are seconds, or the ``unit``
    ``aware_datetimes``        datetimes with a zone that do not exist
    ``local_time``             ``timezone``, ``ambiguous``, ``nonexistent``: a wall clock becomes UTC
      ``repeated_hour``          ``ambiguous="infer"``
    ``future``                 ``allow_future``
``contracts``              which contract holds for a series, and which observations break it
``monotone``               series of which no value may be lower than the one before it in time
``repeated_keys``          of one (timestamp, name) the last row wins
``conflicts``              ``on_conflict``: rows that lost to another value
  ``distinguishing_column``  the unused column that tells such rows apart
``faults``                 rows with a reason, from every check, and the frame that shows them
``model``                  Observations: what comes out

A new frame option is a field of ``options``, read in the room that it concerns. It is offered by ``DataSource`` in
``source.py``, ``@temporis_asset`` in ``assets.py``, ``io_manager/io_manager.py``, ``components/ingest_options.py`` and
``cli/ingest.py``.
"""

from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.faults import Found
from temporis_dagster.data_source.observations.future import AllowFuture
from temporis_dagster.data_source.observations.interval import Interval
from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.observations.observe import observe
from temporis_dagster.data_source.observations.options import (
    Ambiguous,
    Decimals,
    Layout,
    Nonexistent,
    ObservationArguments,
    ObservationOptions,
    OnConflict,
    OnInvalid,
    SubSecond,
    Unit,
)
from temporis_dagster.data_source.observations.series import Series

__all__ = [
    "AllowFuture",
    "Ambiguous",
    "Contracts",
    "Decimals",
    "Found",
    "Interval",
    "Layout",
    "Nonexistent",
    "ObservationArguments",
    "ObservationOptions",
    "Observations",
    "OnConflict",
    "OnInvalid",
    "Series",
    "SubSecond",
    "Unit",
    "observe",
]
