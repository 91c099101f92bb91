"""New York's airports in 2013: a Dagster project that loads an operational database into a Temporis data source."""
