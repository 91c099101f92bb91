"""The write of an asset that has no IO manager: which asset it is, and with which options.

Comes in: the context of an asset's body, a frame, options. Goes out: the result that the body returns or yields.
Never: has steps of its own (``steps`` has them).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from temporis_dagster.asset_options import FRAME_OPTIONS, options_said
from temporis_dagster.data_source.observations import ObservationOptions, Series
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import option_key
from temporis_dagster.wording import listed
from temporis_dagster.write_options import CHANGE_OPTIONS
from temporis_dagster.writing.dagster_output import AssetOutput, StepContext

DEFAULTS: Mapping[str, object] = {
    "data_source": None,
    "outside_partition": "raise",
    "plot": False,
    **dict.fromkeys(CHANGE_OPTIONS),
    **{option: getattr(ObservationOptions(), option) for option in FRAME_OPTIONS},
}
"""The options of an asset that states none."""

HOW_TO_NAME = (
    "Pass data_source='store_metrics', or put metadata={'temporis/data_source': 'store_metrics'} on the asset, its "
    "AssetSpec or its AssetOut."
)


def asset_output(
    what: str,
    context: object,
    asset_key: object,
    options: Mapping[str, object],
    contracts: tuple[Series, ...] = (),
) -> AssetOutput:
    """Return where one asset of a body shows what became of its write.

    Args:
        what: The method that the body calls, for messages.
        context: The context of the body.
        asset_key: Which asset, if the body has several.
        options: Options that override those in the asset's metadata; None stands for those that the caller left out.
        contracts: What is stated about the series, in addition to what the asset's metadata state.

    Raises:
        ConfigurationError: The context is not that of an asset, the asset is none that the run selects, or an option
            does not take its value.
    """
    step = context_of_asset(what, context)
    asset = _asset_of(what, step, asset_key)
    given = {option_key(option): value for option, value in options.items() if value is not None}
    said = {**options_said(step.assets_def.get_asset_spec(asset).metadata), **options_said(given)}
    if not said.get("data_source"):
        raise ConfigurationError(f"{what} does not know the data source of {asset.to_user_string()!r}. {HOW_TO_NAME}")
    return AssetOutput(step, asset, DEFAULTS, given, contracts)


def context_of_asset(what: str, context: object) -> StepContext:
    """Return the context of an asset's body.

    Args:
        what: The method that the body calls, for messages.
        context: What the body passed.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(context, dg.AssetExecutionContext | dg.OpExecutionContext):
        raise ConfigurationError(
            f"{what} needs the context of the asset, got {type(context).__name__}. Add a parameter 'context: "
            "dg.AssetExecutionContext' to the asset, and pass it."
        )
    if not context.has_assets_def:
        raise ConfigurationError(
            f"{what} works in the body of an asset, and this is an op. In an op, call temporis.data_source(...).upsert,"
            " which returns a report, or make it an asset."
        )
    return context


def _asset_of(what: str, context: StepContext, asset_key: object) -> dg.AssetKey:
    keys: list[dg.AssetKey] = sorted(context.assets_def.keys)
    if asset_key is None:
        if len(keys) == 1:
            return next(iter(keys))
        raise ConfigurationError(
            f"{what} has to know which asset it is: this body has {listed(key.to_user_string() for key in keys)}. Pass "
            "asset_key=, for each of them."
        )
    try:
        asset = dg.AssetKey.from_coercible(asset_key)  # type: ignore[arg-type]  # refuses anything else
    except Exception as error:
        raise ConfigurationError(f"asset_key must be an asset key or its text, got {asset_key!r:.80}.") from error
    if asset not in keys:  # Dagster leaves out those that the run does not select
        raise ConfigurationError(
            f"asset_key={asset.to_user_string()!r} is none of the assets that this run selects from this body: "
            f"{listed(key.to_user_string() for key in keys)}. Nothing was sent. Write only those that are in "
            "context.selected_asset_keys."
        )
    return asset


def options_of(arguments: Mapping[str, Any]) -> dict[str, object]:
    """Return the options among the arguments of a method, by name."""
    return {option: arguments[option] for option in DEFAULTS if option in arguments}
