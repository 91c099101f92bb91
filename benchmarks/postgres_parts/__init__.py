"""Parts of ``benchmarks/postgres.py``: a server and its meter, what is compared, and the data."""
