"""Version: what this library calls itself, in user agents and on the command line.

Comes in: nothing. Goes out: one text; the wheel takes it from here, too.
Never: imports anything.
"""

__version__ = "0.1.0"
