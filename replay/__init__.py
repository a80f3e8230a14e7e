"""Read the tape: catalog → kernels → books, as Python, as SQL, or as the exchange itself."""
