"""Schedules and sensors that keep partitions filled: a trailing window refilled by the clock, gaps found and filled."""
