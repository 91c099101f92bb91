"""Calls a function of a benchmark in a process of its own, which ``Given.apart`` starts; prints its figures as JSON."""

import importlib
import json
import sys
import warnings

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    module, function, arguments = sys.argv[1:]
    print(json.dumps(getattr(importlib.import_module(module), function)(**json.loads(arguments))))
