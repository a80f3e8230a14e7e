-- Market snapshots: numbers as the venue wrote them, and as DOUBLE under `<name>_double`.
CREATE OR REPLACE VIEW market_snapshots AS
SELECT
    symbol, ts_recv, ts_event, held_ns, known_at(ts_recv, held_ns) AS ts_known,
    * EXCLUDE (symbol, ts_recv, ts_event, held_ns, date),
    TRY_CAST(buy AS DOUBLE) AS buy_double,
    TRY_CAST(sell AS DOUBLE) AS sell_double,
    TRY_CAST(high AS DOUBLE) AS high_double,
    TRY_CAST(low AS DOUBLE) AS low_double,
    TRY_CAST(vol AS DOUBLE) AS vol_double,
    TRY_CAST(vol_value AS DOUBLE) AS vol_value_double,
    TRY_CAST(change_price AS DOUBLE) AS change_price_double,
    TRY_CAST(change_rate AS DOUBLE) AS change_rate_double,
    TRY_CAST(last_traded_price AS DOUBLE) AS last_traded_price_double,
    date
FROM parts_of_market_snapshots;
