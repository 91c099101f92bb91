"""The HTTP backend: observations become request bodies, sent and retried until the outcome of each one is known.

The rooms, from the face down; each imports only from rooms below it:

- ``target``: the face. ``HttpTarget.upsert``, ``archive_state``, ``error``.
- ``errors``: which error an answer becomes, and its text: what happened, and what to do.
- ``access``: which base URL and token are accepted, before anything is opened.
- ``delivery``: one upsert or flush. Threads that make and send bodies, halving a refused body, one outcome for each
  row.
- ``encoding``: observations to JSON bodies, bounded by rows and bytes.
- ``body_size``: how large the next body may be, learned from answers and from 413.
- ``attempts``: the retry loop of one request.
- ``throttle``: when the next request may start, the retry budget, when to give up. The states are drawn there.
- ``window``: how many requests may be under way, learned from answers, delays and refusals.
- ``rate``: how far apart requests start, learned from 429 and 503.
- ``retry``: the policy: after this failure, how long to wait, or why to give up. The table of statuses is there.
- ``client``: one attempt on the wire, and what came back (``Answer``).
- ``error_body``: what the body of an error says, and whether the API wrote it or a proxy.
- ``deadline``: how long an attempt may last (``longest_attempt_s``), and why no byte leaves later.
- ``environment``: proxies and certificates, as the environment names them.
- ``forked``: what a forked child must not share with its parent.

Where is it decided?

- What a status means (is 409 archived? is 503 retried?): ``temporis_dagster.contract``, table ``_MEANINGS``, asked
  through ``meaning_of``. One more retryable status is one more line there, and in the table on top of ``retry``.
- Whether a request without an answer may have been applied: ``contract.may_be_applied``, ``Client._no_answer``.
- Which error a status raises: ``errors``. What the archive state is: ``target``.
"""
