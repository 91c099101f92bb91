"""The mirror in one SQLite file.

Comes in: a path, or a connection inside a transaction. Goes out: what the ``MirrorDatabase`` and ``Statements``
protocols ask for.
Never: decides anything about a batch.

A transaction that writes holds the write lock of the file, so there is one at a time, whatever its data source. Which
file it is in (device, inode, and a random id of the store) is read inside the transaction and kept with its connection,
not asked of the database: another thread may close that, or the process fork, while the transaction goes on, and then
it knows of no file. The connection stays open until it is given back, so what was read in it stays true.

The rooms
---------
``database``    SqliteMirrorDatabase: transactions
``statements``  SqliteStatements: what is written in SQLite's dialect
``lookup``      the present values of many keys, and the batches that carry them
``schema``      the tables, and the steps that make or migrate them
"""
