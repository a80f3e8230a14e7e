"""Compiled loops over plain arrays: numpy and numba only, arrays and scalars in, arrays out.

Kernels never raise. A kernel that runs out of room says how far it came; its caller grows the
arrays and calls again.
"""
