"""Write the tape: sockets → raw log → decode → stitch → Parquet parts and catalog."""
