"""Log lines: the log of the service as JSON, one object per line.

Comes in: records of Python's logging, of which those of requests carry fields of their own. Goes out: text.
Never: adds what the line of text would not show.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

FIELDS = "temporis"
"""The attribute of a record that holds its fields."""


class JsonLines(logging.Formatter):
    """Formats each record as a JSON object on one line.

    It has ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``message``, then the fields of the record, and
    ``exception``, the traceback, if there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
