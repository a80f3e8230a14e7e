"""The exchange-shaped server: KuCoin's public protocol of February 2019 on a loopback port.

`app.py` speaks the protocol and asks a `source.Source` what to say. `synthetic/` is such a source:
a price-time matching engine with seeded order flow, which also writes down, straight from its
integers, what a perfect recorder would have rebuilt. `faults.py` breaks things on demand.
"""
