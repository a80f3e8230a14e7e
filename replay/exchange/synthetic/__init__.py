"""A synthetic market: instruments, a matching engine, seeded order flow, and their histories.

Engine, flow, market and truth import nothing of `schemas`: what they say is evidence because it is
worked out apart from everything that checks it. `wording.py` says how a dialect tells it, and
`source.py` gives it to the server.
"""
