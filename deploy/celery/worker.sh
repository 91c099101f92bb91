#!/bin/sh
# A worker that runs one step at a time: `./worker.sh NAME`. SIGTERM lets it end its step first. It has a child process
# that runs the step: to end it by force, kill both.
cd "$(dirname "$0")" || exit
exec celery -A dagster_celery.app worker --concurrency 1 -n "$1@%h" --loglevel info
