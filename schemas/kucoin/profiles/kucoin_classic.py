"""KuCoin's classic spot API as it is today: no level 3, whole books only with a key."""

from schemas.kucoin.profile import PRIVATE, PUBLIC, BookSource, Limits, Profile, Rate

KUCOIN_CLASSIC = Profile(
    name="kucoin-classic",
    venue="kucoin",
    source=(
        "KuCoin API documentation, classic spot (www.kucoin.com/docs-new) and the specification "
        "of kucoin-universal-sdk of November 2025, read 2026-11-22"
    ),
    # Overlapping ranges are stated since then: kucoin-api-docs, commit 44acdb5.
    valid_from="2022-09-22",
    rest_url="https://api.kucoin.com",
    bullet_path="/api/v1/bullet-public",
    symbols_path="/api/v2/symbols",
    tickers_path="/api/v1/market/allTickers",
    timestamp_path="/api/v1/timestamp",
    histories_path="/api/v1/market/histories?symbol={symbol}",
    status_path="/api/v1/status",
    key_path="/api/v1/user/api-key",
    books=(
        BookSource("l2", "/api/v3/market/orderbook/level2?symbol={symbol}", signed=True),
        # Without a key the best hundred levels a side are all there is: a partial seed.
        BookSource("l2", "/api/v1/market/orderbook/level2_100?symbol={symbol}", depth=100),
    ),
    captured_books=(
        BookSource("l2", "/api/v1/market/orderbook/level2_20?symbol={symbol}", depth=20),
    ),
    captured_symbols_paths=("/api/v1/symbols",),
    topics={
        "level2": "/market/level2",
        "match": "/market/match",
        "snapshot": "/market/snapshot",
        "ticker": "/market/ticker",
    },
    continuity="overlap",
    # A match says ns and means ms: the last six digits are zeros.
    time_units={"level2": "ms", "match": "ns", "snapshot": "ms", "ticker": "ms"},
    trade_sequences="trade",
    key_version="3",
    limits=Limits(
        connections_max=150,
        connects=Rate(30, 60.0),
        # 300 are documented and have been refused above a hundred: the configuration asks for 95.
        topics_per_connection=300,
        topics_per_message=100,
        uplink_messages=Rate(100, 10.0),
        rest={PUBLIC: Rate(2_000, 30.0), PRIVATE: Rate(4_000, 30.0)},
        rest_weights={
            "/api/v1/bullet-public": 10,
            "/api/v1/market/allTickers": 15,
            "/api/v1/market/candles": 3,
            "/api/v1/market/histories": 3,
            "/api/v1/market/orderbook/level1": 2,
            "/api/v1/market/orderbook/level2_20": 2,
            "/api/v1/market/orderbook/level2_100": 2,
            "/api/v1/market/stats": 15,
            "/api/v1/markets": 3,
            "/api/v1/prices": 3,
            "/api/v1/status": 3,
            "/api/v1/timestamp": 3,
            # Of a pool of its own, Management; asked once a start, it is counted with the books.
            "/api/v1/user/api-key": 20,
            "/api/v2/symbols": 4,
            "/api/v3/currencies": 3,
            "/api/v3/market/orderbook/level2": 3,
        },
        idle_disconnect_s=60,
        token_life_s=86_400,
        states_budget=True,
    ),
)
