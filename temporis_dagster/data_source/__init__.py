"""The core: the data model of a data source, and delivery. Never imports Dagster."""
