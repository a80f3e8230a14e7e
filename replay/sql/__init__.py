"""SQL over an archive: views, table macros, and the DuckDB connection that holds them.

One view or macro a file, named after it.
"""
