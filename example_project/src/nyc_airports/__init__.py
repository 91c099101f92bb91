"""A Dagster project: New York's airports in 2013, from an operational database into a Temporis data source."""
