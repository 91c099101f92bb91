"""The mirror in one PostgreSQL database, shared by many processes and pods.

Comes in: a URL, or a connection inside a transaction. Goes out: what the ``MirrorDatabase`` and ``Statements``
protocols ask for.
Never: shows a user or a password, keeps anything in a session between transactions (PgBouncer may give each of them
another one), or decides anything about a batch.

What takes the place of the file's write lock
---------------------------------------------
1. *The mirror's lock*, an advisory lock of the transaction. What writes about one data source shares it; what is about
   all of them (making the mirror, ``rebuild``, ``rebind``) has it alone. A lock on a row would
   not do: each transaction that shares one writes to the row, and together they keep others from having it alone for as
   long as they overlap. The server queues up advisory locks, so a rebuild waits only for transactions that began
   before.
2. *The turn*, another one, of a random number of each piece of work. A second attempt waits in it until the
   transaction of the first, whose connection was lost, has ended; then ``pg_xact_status`` tells what became of it.
3. *The row of the data source*, ``FOR NO KEY UPDATE``, in every transaction that writes about it, before anything about
   it is read. Not ``SKIP LOCKED``: a claim must see all claims before it. As there is one such transaction at a time,
   ids of batches ascend in the order in which they are committed.

Locks are taken in this order, and of each kind a transaction has one, so there are no deadlocks between them.

Which statements see what
-------------------------
A transaction that writes is READ COMMITTED: each statement sees what was committed before it began. Under the lock
of the data source that is one state, because no other transaction changes it, and it is the newest. (REPEATABLE READ
would see the state from before the wait for the lock.) What is read across data sources, the sum of what is pending,
may change meanwhile: upserts that begin at the same moment, each into another data source, do not count each other's
rows. A transaction that reads is REPEATABLE READ: one state of all tables.

The clock is ``clock_timestamp()``, read once the lock is held: ``now()`` is when the transaction began, which may be
long before.

The id of the store, the object id of its table, and a random id of the mirror, all of them read in the transaction,
say which mirror it is in. A dump that was restored, or tables that were dropped and made anew, are
another one.

The rooms
---------
``database``    PostgresMirrorDatabase: transactions, locks, the outcome of a commit without an answer
``statements``  PostgresStatements: what is written in PostgreSQL's dialect
``schema``      the tables
"""
