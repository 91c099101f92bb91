"""The mirror: a store in front of a service. Nothing lost, readable, only what changed, and no late write wins.

What is on disk (SQLite; ``schema`` has the tables; the observations are the embedded store's own)
--------------------------------------------------------------------------------------------------
*Observation* (series, timestamp) -> value, batch: the present value of every key, and the batch that carries it. It is
overwritten by the next write of its key, and deleted only when the service refuses it or, while it is pending, somebody
discards it.

*Batch*: the rows that one transaction wrote. Its id is the **sequence number** of every one of these writes: ids only
grow and are never used again, and a key is at most once in a batch, so (key, batch) names one write of one value. What
it carries never changes; rows are never taken out, they move to a new batch. Beside its rows a batch has

- ``live``: how many of its rows are still to be delivered: the observation names this batch, and nobody acknowledged.
  0 is *closed*. An observation is **acknowledged** exactly if its batch is closed or gone.
- ``not_before``: when it may be sent.
- ``sender, lease_until``: who may be sending it right now. Written, and durable, before the first request starts.
- ``doubtful_until``: until when a request that carried these rows may still be applied although nobody knows of it. Set
  with the lease, to its end and the window for late writes; set back once every attempt is known to be over.

So a batch is one of: *waiting* (live, no lease), *in flight* (a lease that has not ended), *doubtful* (its lease ended
without a word, or an attempt had no answer; it may be live or closed), or *closed*, and gone once it is not doubtful.
There is no background work: every state is a comparison with the database's clock.

*Rejected* (series, timestamp) -> value, reason: the latest write of a key, where the service refused it.

*Mirror*: the one target: its URL, and a salted hash of the token. *Source*: how many rows are pending, the last error.

Why the promises hold
---------------------
1. *Nothing lost.* ``upsert`` commits observations and batch in one transaction (``synchronous=FULL``: process death and
   power loss; a pod's own disk survives neither) before it sends. Only an acknowledgement or a refusal by the service
   closes a row. Killed at any moment, what was in flight becomes doubtful and live: it is sent again.
2. *An acknowledgement covers what was sent.* A batch is immutable, and settling is a transaction that first asks
   whether this sender's lease still holds. A sends v1 in batch 1, B writes v2 in batch 2: the observation names batch
   2, so the answer to batch 1 closes nothing of it. (Rows of batch 1 that B overwrote stopped being live then.)
3. *No key in two requests.* Claiming is a transaction. It refuses a batch that shares a key with any batch in flight,
   and first moves the rows that are still live out of a batch that was partly overwritten, so that an old value is
   never sent once a newer one is in the mirror. An attempt starts only while the lease lasts for all of it.
4. *No zombies.* An attempt without an answer leaves a closed copy of its rows, doubtful until the window is over, also
   if a later attempt is acknowledged. The claim of a batch notes for which of its rows a *different* value is doubtful
   at that moment (not later: the doubt may end, and the older value land, while the newer is under way). Once
   acknowledged, these rows move to a new batch that may be sent after the window: they are still pending, and
   ``flush(wait=True)`` waits for them. That the same value may be applied once more harms nobody, so a retried row
   counts as stored. As 3 holds, the doubt about an older value is on disk before a newer one of its key is sent.
5. *Unchanged* is a row whose present value is equal bit for bit, whose batch is closed or gone, and for which no
   different value is doubtful. Everything else is written and sent.
6. *Bound to one target.* The first transaction on a file compares URL and fingerprint, and refuses to go on.
7. *Own rows first.* An upsert claims its own batches by their ids, and looks at the rows of others only where they are
   in flight or doubtful. What a backlog costs it is the lookup of its own keys.
8. *Two processes* meet only in these transactions. SQLite's clock is the machine's; a jump of it shortens or lengthens
   leases and windows.

What cannot be promised: a process that is paused between the look at its lease and its request, for longer than the
lease and the window, can still put an old value over a newer one; so can a service that applies a request later than
the window. And a mirror knows only what went through it.
"""

from temporis_dagster.data_source.mirror.mirror import Mirror

__all__ = ["Mirror"]
