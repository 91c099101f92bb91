"""The HTTP backend: observations become request bodies, sent and tried again until each one's outcome is known."""
