"""Mutation testing of single modules; see `__main__`."""
