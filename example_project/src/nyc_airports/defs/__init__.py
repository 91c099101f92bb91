"""All definitions of the project. `definitions.py` collects everything in this folder."""
