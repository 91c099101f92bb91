"""The mirror: a store in front of a service. Nothing lost, readable, only what changed, and no late write wins.

What is on disk (SQLite or PostgreSQL; ``schema`` in each room has the tables; the observations are those of the store)
-----------------------------------------------------------------------------------------------------------------------
*Observation* (series, timestamp) -> value, batch: the present value of every key, and the batch that carries it. The
next write of its key overwrites it. It is deleted only when the service rejects it or, while it is pending, when the
user discards it.

*Batch*: the rows that one transaction wrote. Its id is the **sequence number** of every one of these writes: for each
data source, ids only grow and are never used again, and a key is at most once in a batch, so (key, batch) names one
write of one value. What it carries never changes; rows are never taken out, they move to a new batch. Besides its rows,
a batch has

- ``live``: the number of its rows that are still to be delivered: the observation names this batch, and the service has
  not acknowledged it. 0 is *closed*. An observation is **acknowledged** exactly if its batch is closed or gone.
- ``not_before``: when it may be sent.
- ``sender, lease_until``: the *holder* that may be sending it right now. Written, and durable, before the first request
  starts.
- ``doubtful_until``: until when a request that carried these rows may still be applied without this mirror learning of
  it. Set with the lease, to the end of the lease plus the window for late writes; set back once every attempt is known
  to be over.
- ``stamped_at``: what time it was when these moments were set. If that is in the future, the clock was ahead: all
  moments of the batch come forward by as much, which makes none of them shorter than it was meant to be.
- the ranges of its keys and times, so that a claim looks only at doubtful batches that may share its keys.

So a batch is one of: *waiting* (live, no lease that lasts), *in flight* (a lease that has not ended), or *closed*; and
besides that it may be *doubtful* (its lease ended without a word, or an attempt had no answer). A closed batch is gone
once it is not doubtful. ``batches`` draws the states and has every step between them. There is no background work:
every state is a comparison with the database's clock.

*Rejected* (series, timestamp) -> value, reason: the latest write of a key, where the service rejected it.

*Mirror*: the one target: its URL, and a hash of the token, salted anew each time that it is bound; the longest window
for late writes that it was used with. *Source*: how many rows are pending, and the last error.

Why the promises hold
---------------------
What follows rests on one rule: *of the transactions that write about a data source, there is one at a time, and it sees
all before it.* On SQLite that is the write lock of the file; on PostgreSQL, the lock on the row of the data source,
which is taken before anything about it is read (``postgres`` has the locks, and what may be seen when). What is about
all data sources (making the mirror, binding it, a rebuild) happens while no other transaction writes into the mirror.

1. *Nothing lost.* ``upsert`` commits observations and batch in one transaction (on SQLite with ``synchronous=FULL``:
   they survive the death of the process and a loss of power; a pod's own disk survives neither) before it sends. Only
   an acknowledgement or a refusal by the service, a newer write of its key or the user's discard ends the delivery of a
   row. If the process is killed, at whatever moment, what was in flight becomes doubtful and stays live: it is sent
   again. If PostgreSQL cannot be reached, a transaction is done again. If its commit had no answer, the next attempt
   waits until that transaction has ended, asks what became of it, and does it again only if it did not take place: so
   there is no batch of which this process does not know.
2. *An acknowledgement covers what was sent.* A batch is immutable, and settling is a transaction that first asks
   whether this holder's lease still lasts. A sends v1 in batch 1, B writes v2 in batch 2: the observation names batch
   2, so the answer to batch 1 closes nothing of it. (Rows of batch 1 that B overwrote stopped being live then.)
3. *No key in two requests.* Claiming is a transaction. It refuses a batch that shares a key with any batch in flight,
   and first moves the rows that are still live out of a batch that was partly overwritten, so that an old value is
   never sent once a newer one is in the mirror. An attempt starts only while the lease lasts for all of it:
   ``Lease.ensured`` asks for ``longest_attempt_s`` of its body, the same rule that the client follows, and from that
   long after the attempt began no byte of it leaves this machine (``http.deadline`` has that argument). So a lease
   outlasts every attempt that it covers, on a slow line too. An *interruption* (Ctrl-C, a progress function that
   raises) does not end the threads that send. So it ends the lease for new attempts first (``Lease.end``: under the
   lock in which an attempt is noted as under way), and only then looks at what is under way: nothing can start after
   that look. Batches that are under way keep their lease, and with it their doubt, on disk. The others are settled and
   released at once, also if the interruption came around the commit that claimed them. What is left is settled by a
   later operation of this process, after the last of those threads has ended; if there is none, the lease ends by
   itself, after the attempt.
4. *No zombies.* An attempt without an answer leaves a closed copy of its rows, doubtful until the window is over, also
   if a later attempt is acknowledged. The window is counted from a moment at which the attempt is over: from the
   settlement, which waits for it, or from the end of the lease, which outlasts it; never from an interruption. The
   claim of a batch notes for which of its rows a *different* value is doubtful at that moment (not later: the doubt may
   end, and the older value land, while the newer one is under way). Once acknowledged, these rows move to a new batch
   that may be sent after the window: they are still pending, and ``flush(wait=True)`` waits for them. If the same value
   is applied once more, that does no harm, so a retried row counts as stored. As 3 holds, the doubt about an older
   value is on disk before a newer value of its key is sent.
5. *Unchanged* is a row whose present value is equal bit for bit, whose batch is closed or gone, and for which no
   different value is doubtful. Everything else is written and sent.
6. *Bound to one target, in one place.* Every transaction, except those of ``rebuild``, ``rebind`` and ``exists``,
   compares the salt with the one that was last seen to be this target's, and if it differs also URL and fingerprint,
   before it does anything else. So neither a file that was given the inode number of a deleted one, nor ``rebuild`` or
   ``rebind`` by another process, lets one target's mirror answer for another's rows. A delivery also compares, in each
   transaction that writes, which mirror it is in: on SQLite by device, inode and a random id of the store, on
   PostgreSQL by the ids of the store, of its table and of the mirror.
7. *Own rows first.* An upsert claims its own batches by their ids, and looks at the rows of others only where they are
   in flight or doubtful. Until its own rows are sent, a backlog costs it only the lookup of their keys.
8. *Two processes* meet only in these transactions. SQLite's clock is the machine's, PostgreSQL's is the server's, read
   once the lock is held. Set back, it lengthens leases and windows, by no more than their own length; set forward while
   a request is under way, it shortens them.
9. *Reading makes nothing.* Where there is no mirror, an empty one in memory is read. Only an upsert makes a mirror and
   binds it.

What cannot be promised: a process that is paused between the look at its lease and its request, for longer than the
lease and the window, can still put an old value over a newer one; so can a service that applies a request later than
the window, and a clock that is set forward while a request is under way. A mirror knows only what went through it, and
one that was restored from a backup, or whose server failed over to a standby that had not received its last commits,
does not know what went through it since.
"""

from temporis_dagster.data_source.mirror.mirror import Mirror

__all__ = ["Mirror"]
