"""Every definition of the project. `definitions.py` collects whatever is found in this folder."""
