"""The store in one PostgreSQL database.

Comes in: a URL. Goes out: what the ``Database`` protocol asks for.
Never: shows a user or a password, or keeps a lock while it waits for anything but the server.

How one chunk of an upsert is written, in one transaction
----------------------------------------------------------
1. *Lock.* Upserts queue up at an advisory lock of the data source, and the first of them takes its row, by ``SELECT ...
   FOR NO KEY UPDATE``. So writers of a data source take turns, in the order in which they came: there are no deadlocks
   between them, and the final content is that of a serial order. ``archive()`` only takes the row, so it waits for one
   chunk or two and not for the whole queue; no chunk that begins afterwards misses it, because the lock returns the
   newest version of the row. (A shared lock would starve ``archive()`` for as long as writers overlap.)
2. *Read* what is there for the keys of the chunk, as arrays: by range where a series has many rows in the chunk,
   otherwise by key.
3. *Compare* the bits. To SQL, -0.0 and 0.0 are equal.
4. *Write* new rows by ``COPY`` and changed ones by ``INSERT ... ON CONFLICT``. What is unchanged is not written at all,
   neither to the table nor to the write-ahead log; and if nothing of a chunk changed, there is nothing to commit, so
   the server's disk is not waited for.

When the connection is lost, the chunk is done again: that is safe, and step 2 shows what is there. Whether a commit
without an answer took place need not be known for that: rows that it wrote are now equal, and they count as stored.

The rooms
---------
``database``    PostgresDatabase: the server, with what the store asks of it
``server``      connections, transactions, patience, forks
``connecting``  a URL becomes parameters of libpq, and a URL that may be shown
``schema``      the tables and views, and the migrations between their versions
``arrays``      columns of numbers as PostgreSQL's binary arrays and rows of ``COPY``
``lookup``      step 2
``write``       steps 3 and 4
``read``        rows out of the table, series by series
``stored``      keys, counts and pages of them, and their deletion
``failures``    the driver's exceptions in words, with advice, and which of them pass
"""
