-- Order events.
CREATE OR REPLACE VIEW l3_events AS
SELECT
    symbol, ts_recv, ts_event, held_ns, known_at(ts_recv, held_ns) AS ts_known,
    run_id, ordinal, sequence, kind, side, aggressor_side, order_id, taker_order_id, trade_id,
    as_double(price_mantissa, price_scale) AS price,
    as_double(size_mantissa, size_scale) AS size,
    as_double(remain_size_mantissa, remain_size_scale) AS remain_size,
    as_double(old_size_mantissa, old_size_scale) AS old_size,
    as_double(funds_mantissa, funds_scale) AS funds,
    order_type, stop_type, reason,
    price_mantissa, price_scale, size_mantissa, size_scale,
    remain_size_mantissa, remain_size_scale, old_size_mantissa, old_size_scale,
    funds_mantissa, funds_scale,
    date
FROM parts_of_l3_events;
