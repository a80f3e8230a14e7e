"""The exchange-shaped server: KuCoin's public protocol on a loopback port, as it was and as it is.

`app.py` speaks the protocol in one of the `dialects/` and asks a `source.Source` what to say.
`synthetic/` is such a source: a price-time matching engine with seeded order flow, which also
writes down, straight from its integers, what a perfect recorder would have rebuilt. `faults.py`
breaks things on demand, `events.py` lists and delists, `api_keys.py` checks signatures.
"""
