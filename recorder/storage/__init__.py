"""The only files that write disk: raw log, parts, catalog."""
