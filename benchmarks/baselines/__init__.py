"""What the library is compared with: one file for each, to be read by who doubts the tables.

Each has ``SETTINGS``, which the tables show: what it is, and with which of its documented settings it was measured.
None of them checks, retries or reports more than its file shows.
"""
