"""``dg.EnvVar`` outside a run: Dagster resolves it when a run starts; a notebook or a test has no run.

Comes in: values of options, some of them ``dg.EnvVar``. Goes out: plain values, and a note of where they came from.
Never: shows a value, or reads a variable before it is needed.
"""

from collections.abc import Mapping

import dagster as dg

from temporis_dagster.errors import ConfigurationError

ENV_VARS = (dg.EnvVar, type(dg.EnvVar.int("NAME")))


def plain_value(what: str, option: str, value: object) -> object:
    """Return the value of an option; for a ``dg.EnvVar``, what its environment variable holds now.

    Args:
        what: The class of the resource.
        option: The name of the option.
        value: The value that was given.

    Raises:
        ConfigurationError: The environment variable is not set.
    """
    if not isinstance(value, ENV_VARS):
        return value
    found = value.get_value()
    if found is None:
        raise ConfigurationError(
            f"{option}= of {what} is dg.EnvVar({value.env_var_name!r}), but this environment variable is not set in "
            "this process. Set it where this code runs (code location, notebook or shell), or pass the value itself."
        )
    return found


def env_var_note(options: Mapping[str, object]) -> str:
    """Name the options that come from environment variables; added to an error, since that is where to correct them.

    Examples:
        >>> env_var_note({"url": dg.EnvVar("OUR_URL"), "token": None})
        "(url= is dg.EnvVar('OUR_URL').)"
    """
    notes = [
        f"{option}= is dg.EnvVar({value.env_var_name!r})"
        for option, value in options.items()
        if isinstance(value, ENV_VARS)
    ]
    return f"({', '.join(notes)}.)" if notes else ""
