"""Exits: turn an error into one paragraph on stderr and an exit code.

Comes in: an error of the package. Goes out: its text and its exit code.
Never: prints a traceback for an error of the package.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

import click

from temporis_dagster.cli.output import tell, unwritable
from temporis_dagster.errors import (
    AuthenticationError,
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    InvalidObservationsError,
    NotSupportedError,
    RejectedObservationsError,
    TemporisError,
)

OTHER, NOT_FOUND, UNAVAILABLE = 1, 4, 8

EXIT_CODES: dict[type[TemporisError], int] = {
    ConfigurationError: 2,
    NotSupportedError: 2,
    InvalidObservationsError: 3,
    DataSourceNotFoundError: NOT_FOUND,
    DataSourceArchivedError: 5,
    AuthenticationError: 6,
    RejectedObservationsError: 7,
}

EPILOG = """\b
Exit codes:
  0  Success.
  1  Any failure without a code of its own.
  2  Invalid option or setting, or unsupported operation. Nothing was sent.
  3  Invalid observations. Nothing was sent.
  4  Unknown data source, token or mirror.
  5  The data source is archived.
  6  The access token is missing or unknown.
  7  The service rejected some observations and stored the others.
  8  The service or store is unavailable or locked. Try again later.
"""


class Commands(click.Group):
    """A group whose commands may raise the errors of the package."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # click's own signature
        """Run the command line, and report it if even the help cannot be printed."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if not _of_printing(error):
                raise
            tell(f"Error: {unwritable(error).message}")
            sys.exit(OTHER)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, and exit with the code of its error if it fails."""
        try:
            return super().invoke(ctx)
        except TemporisError as error:
            tell(f"Error: {' '.join(str(error).split())}")
            raise click.exceptions.Exit(exit_code(error)) from None
        except KeyboardInterrupt as interruption:
            if report := getattr(interruption, "report", None):
                tell(f"Interrupted. {report}")
            else:
                for note in getattr(interruption, "__notes__", ()):  # of a delete: how much is gone
                    tell(note)
            raise


def _of_printing(error: OSError) -> bool:
    """Tell whether click failed to print, as opposed to a bug of this package."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") == "click.utils"


class NotFound(click.ClickException):
    """Nothing with that name exists."""

    exit_code = NOT_FOUND


def exit_code(error: TemporisError) -> int:
    """Return the exit code for an error.

    >>> exit_code(ConfigurationError("..."))
    2
    """
    if error.retryable:
        return UNAVAILABLE
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), OTHER)
