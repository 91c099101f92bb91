"""The IO manager: what an asset returns is upserted, what another asset asks for is read back."""
