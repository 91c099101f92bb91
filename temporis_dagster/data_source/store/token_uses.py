"""TokenUses: when tokens were last used, to the minute.

Comes in: a token that was found. Goes out: its time of last use, in the store, at most once per minute and process.
Never: fails, holds up a request for longer than ``WAIT_S`` waits for a lock, or knows a token: only its hash.
"""

from __future__ import annotations

import logging
import time

from temporis_dagster.data_source.store.database import Database
from temporis_dagster.data_source.store.sources import run

LOGGER = logging.getLogger(__name__)

MINUTE_S = 60

WAIT_S = 0.02
"""The number of seconds that a request waits for another writer's lock, so that the use of its token can be noted."""

AGAIN_AFTER_S = 10.0
"""After how many seconds a use that could not be noted is tried again, with a later request."""


class TokenUses:
    """Notes the uses of tokens of one store. Threads may share it."""

    def __init__(self) -> None:
        # There is no lock, which a forked child might inherit locked: two threads at once note the same minute twice.
        self._not_before: dict[str, float] = {}
        self._has_failed = False

    def note(self, database: Database, hashed: str, last_used_at: int | None) -> None:
        """Note that a token is used now, unless that is known for this minute.

        Args:
            database: The database of the store.
            hashed: The hash of the token.
            last_used_at: What is noted so far: Unix seconds, or None.
        """
        minute, now = int(time.time()) // MINUTE_S * MINUTE_S, time.monotonic()
        if (last_used_at or 0) >= minute or now < self._not_before.get(hashed, now):
            return
        self._not_before[hashed] = now + AGAIN_AFTER_S
        try:
            _note(database, hashed, minute)
        except Exception as error:  # noqa: BLE001  # whatever it is, the request goes on
            failure = database.failure_of(error)
            level = logging.DEBUG if self._has_failed else logging.INFO
            self._has_failed = True
            LOGGER.log(
                level, "The time of use of an access token was not noted: %s.", failure.what if failure else error
            )


def _note(database: Database, hashed: str, minute: int) -> None:
    with database.writing(wait_s=WAIT_S) as connection:
        run(
            connection,
            "UPDATE temporis_token SET last_used_at = ? WHERE hash = ? AND coalesce(last_used_at, 0) < ?",
            (minute, hashed, minute),
        )
        database.commit(connection)
