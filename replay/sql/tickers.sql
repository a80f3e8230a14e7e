-- Ticker pushes.
CREATE OR REPLACE VIEW tickers AS
SELECT
    symbol, ts_recv, ts_event, held_ns, known_at(ts_recv, held_ns) AS ts_known,
    run_id, ordinal, sequence, channel,
    as_double(price_mantissa, price_scale) AS price,
    as_double(size_mantissa, size_scale) AS size,
    as_double(best_bid_mantissa, best_bid_scale) AS best_bid,
    as_double(best_bid_size_mantissa, best_bid_size_scale) AS best_bid_size,
    as_double(best_ask_mantissa, best_ask_scale) AS best_ask,
    as_double(best_ask_size_mantissa, best_ask_size_scale) AS best_ask_size,
    price_mantissa, price_scale, size_mantissa, size_scale,
    best_bid_mantissa, best_bid_scale, best_bid_size_mantissa, best_bid_size_scale,
    best_ask_mantissa, best_ask_scale, best_ask_size_mantissa, best_ask_size_scale,
    date
FROM parts_of_tickers;
