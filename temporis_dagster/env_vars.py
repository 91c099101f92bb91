"""``dg.EnvVar`` outside a run: what Dagster resolves when a run starts, resolved where a notebook or a test needs it.

Comes in: values of options, some of them ``dg.EnvVar``. Goes out: plain values, and a note of where they came from.
Never: shows a value, or reads a variable before it is needed.
"""

from collections.abc import Mapping

import dagster as dg

from temporis_dagster.errors import ConfigurationError

ENV_VARS = (dg.EnvVar, type(dg.EnvVar.int("NAME")))


def plain_value(what: str, option: str, value: object) -> object:
    """The value of an option: of a ``dg.EnvVar``, what its variable holds now.

    Args:
        what: The class of the resource.
        option: The name of the option.
        value: What it was given.

    Raises:
        ConfigurationError: There is no such environment variable.
    """
    if not isinstance(value, ENV_VARS):
        return value
    found = value.get_value()
    if found is None:
        raise ConfigurationError(
            f"{option}= of {what} is dg.EnvVar({value.env_var_name!r}), and this process has no such environment "
            "variable. Set it where this code runs (code location, notebook or shell), or pass the value itself."
        )
    return found


def said_by_env_vars(options: Mapping[str, object]) -> str:
    """Which options are environment variables, for the end of an error: a wrong value is corrected there.

    Examples:
        >>> said_by_env_vars({"url": dg.EnvVar("OUR_URL"), "token": None})
        "(url= is dg.EnvVar('OUR_URL').)"
    """
    said = [
        f"{option}= is dg.EnvVar({value.env_var_name!r})"
        for option, value in options.items()
        if isinstance(value, ENV_VARS)
    ]
    return f"({', '.join(said)}.)" if said else ""
