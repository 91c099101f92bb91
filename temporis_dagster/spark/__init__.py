"""Spark: a Spark DataFrame is upserted by Spark's own tasks, each with a connection of its own. Extra ``[spark]``.

::

    upserting.py   the driver: upsert(df, source) checks the call, starts the job, and returns one report
        frame.py       what a frame of Spark is
        words.py       the options, and what messages advise, in terms of Spark
        columns.py     which columns the tasks need, and what can be refused before the job starts
        together.py    a shuffle that brings the rows of one key to one task, in the order of ``order_by``
        task.py        a task, on an executor: connects, gathers batches, upserts them, and returns one row
            gathering.py   batches of 10,000 rows become tables of 200,000, never cut between rows of one key
            repeated.py    rows of one key with different values: which one wins, or why none does
        outcome.py     the row that a task returns: what became of its observations
        adding_up.py   the rows of all tasks become one report, and at most one error
        job_errors.py  what Spark raises when it gives up the job becomes an error of the tree
"""

from temporis_dagster.spark.upserting import upsert

__all__ = ["upsert"]
