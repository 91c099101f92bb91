"""The store in one SQLite file.

Comes in: the path of a file. Goes out: what the ``Database`` protocol asks for. The mirror, whose file has the same
tables and more, uses these rooms directly.

The rooms
---------
``database``  SqliteDatabase: the file, with what the store asks of it
``file``      connections, transactions, locks, forks
``schema``    the tables and views, and the migrations between their versions
``series``    series by name
``write``     rows into ``temporis_observation``
``read``      rows out of it, series by series
``stored``    keys, counts and pages of them, and their deletion
``failures``  the driver's exceptions in words, with advice
"""
