"""Views: what is said where a store has no SQL views because it could not be migrated.

Comes in: why it could not be. Goes out: a line in the log.
Never: fails. The views are for other programs, and what the same step adds to the tables is for the dashboard. All else
uses what older stores have, too.
"""

from __future__ import annotations

import logging

from temporis_dagster.data_source.store.errors import StoreUnusableError

LOGGER = logging.getLogger(__name__)

WAIT_S = 2.0
"""How many seconds to wait for a lock on the file. Writers of this library leave gaps that are shorter."""


def not_made(url: str, failure: StoreUnusableError, *, taken: bool) -> None:
    """Say that the store was opened as it is, without views. The next process that opens it will try again.

    Args:
        url: The store.
        failure: Why they could not be made.
        taken: Whether the reason is a view or table of one of their names, which its owner has to rename. Otherwise it
            is one that is usual for some users: they may not write, or another process is writing.
    """
    LOGGER.log(
        logging.WARNING if taken else logging.INFO,
        "The store %s has no SQL views: %s. %s It has no tokens for the dashboard either, and no times of the last use"
        " and the last write. Everything else works, and these are added when it is next opened and they can be.",
        url,
        failure.what,
        failure.advice,
    )
