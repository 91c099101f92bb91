"""pytest looks for doctests in every module of the tests; the ones here are for type checkers and never run."""

collect_ignore = ["public_api.py"]
