"""An IO manager that neither stores nor loads: what a run costs without anything of ours."""

import dagster as dg

SETTINGS = "`handle_output` and `load_input` return at once"


class NullIOManager(dg.ConfigurableIOManager):
    """Neither stores nor loads."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Do nothing."""

    def load_input(self, context: dg.InputContext) -> None:
        """Do nothing."""
