-- Matches, one row each.
CREATE OR REPLACE VIEW trades AS
SELECT
    symbol, ts_recv, ts_event, held_ns, known_at(ts_recv, held_ns) AS ts_known,
    run_id, ordinal, sequence, trade_id,
    as_double(price_mantissa, price_scale) AS price,
    as_double(size_mantissa, size_scale) AS size,
    aggressor_side, maker_order_id, taker_order_id, source,
    price_mantissa, price_scale, size_mantissa, size_scale,
    date
FROM parts_of_trades;
