#!/bin/sh
# Run by the image of PostgreSQL when its volume is empty: a role and a database for Dagster, and the same for the store.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv dagster_password DAGSTER_DB_PASSWORD
\getenv temporis_password TEMPORIS_DB_PASSWORD
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE DATABASE dagster OWNER dagster;
REVOKE ALL ON DATABASE dagster FROM PUBLIC;
CREATE ROLE temporis LOGIN PASSWORD :'temporis_password';
CREATE DATABASE temporis OWNER temporis;
REVOKE ALL ON DATABASE temporis FROM PUBLIC;
SQL
