"""A service moves to another store while it works: `python -m examples.swapping OLD NEW`."""
