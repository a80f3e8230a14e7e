"""The pure pipeline: raw-log lines → decode → stitch → rows. Run live, and run again to rebuild."""
