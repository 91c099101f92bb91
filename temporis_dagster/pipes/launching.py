"""In Dagster's process: what an asset passes to its external process, and a client whose messages outlive a failure.

Comes in: the context of an asset's body, a client of Dagster Pipes. Goes out: extras, a client that is watched.
Never: passes a secret: the external process connects with what its own environment holds.
"""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from temporis_dagster.asset_options import options_said
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.writing.dagster_output import AssetOutput, StepContext
from temporis_dagster.writing.materialized import HOW_TO_NAME, asset_output, context_of_asset
from temporis_dagster.writing.message import FORMAT, KIND
from temporis_dagster.writing.rules_json import rules_as_json

FIRST_WAIT_S = 0.5
"""How long to wait for the first message of a process that has ended: it may have been quicker than the reader."""

LONGEST_WAIT_S = 2.0
"""A process that was killed never says that it closes its messages."""
POLL_S = 0.01
READERS = ("message_reader", "_message_reader")
"""What clients of Dagster Pipes call the reader of their messages."""


def outputs_of(what: str, context: object, options: Mapping[str, object]) -> dict[str, AssetOutput]:
    """Return where each asset that a body writes to a data source shows what became of it.

    Args:
        what: The method that the body calls, for messages.
        context: The context of the body.
        options: Options that override those in the assets' metadata.

    Raises:
        ConfigurationError: The context is not that of an asset, none of its assets has a data source, or an option does
            not take its value.
    """
    step = context_of_asset(what, context)
    selected = sorted(step.selected_asset_keys)
    ours = [key for key in selected if options.get("data_source") or _named(step, key)]
    if not ours:
        raise ConfigurationError(f"{what} does not know the data source of the asset. {HOW_TO_NAME}")
    return {key.to_escaped_user_string(): asset_output(what, context, key, options) for key in ours}


def _named(context: StepContext, key: dg.AssetKey) -> bool:
    return bool(options_said(context.assets_def.get_asset_spec(key).metadata).get("data_source"))


def extras_of(outputs: Mapping[str, AssetOutput]) -> dict[str, Any]:
    """Return the extras for the external process.

    Raises:
        ConfigurationError: An asset has a pandera schema.
    """
    assets = {
        asset: {"rules": rules_as_json(output.rules), "stated": sorted(output.stated)}
        for asset, output in outputs.items()
    }
    return {KIND: {"format": FORMAT, "assets": assets}}


def watched(client: Any) -> tuple[Any, list[dg.PipesMessageHandler]]:
    """Return a client like this one, and a list that gets the handler of its messages once it runs.

    A client that fails raises an error, and what the process said before would be lost with it.
    """
    handlers: list[dg.PipesMessageHandler] = []
    for name in READERS:
        reader = getattr(client, name, None)
        if not isinstance(reader, dg.PipesMessageReader):
            continue
        kept, like = copy.copy(reader), copy.copy(client)  # clients ask of which class their reader is
        object.__setattr__(kept, "read_messages", _patient(kept.read_messages, handlers))
        object.__setattr__(like, name, kept)
        return like, handlers
    return client, handlers


def _patient(read: Any, handlers: list[dg.PipesMessageHandler]) -> Any:
    """Return a way to read messages that waits for the last one of a process that has ended.

    A reader of Dagster that finds nothing more to read stops when the process has ended. What the process wrote between
    these two would never be read.
    """

    @contextmanager
    def read_messages(handler: dg.PipesMessageHandler) -> Iterator[Any]:
        handlers.append(handler)
        with read(handler) as params:
            try:
                yield params
            finally:
                ended = time.monotonic()
                while not handler.received_closed_message and time.monotonic() < ended + _wait_s(handler):
                    time.sleep(POLL_S)

    return read_messages


def _wait_s(handler: dg.PipesMessageHandler) -> float:
    return LONGEST_WAIT_S if handler.received_opened_message else FIRST_WAIT_S


def said_by(handlers: Sequence[dg.PipesMessageHandler]) -> Sequence[Any]:
    """Return the custom messages that were received."""
    return [message for handler in handlers for message in handler.get_custom_messages()]
