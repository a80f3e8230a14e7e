-- Full books: one row a level (l2) or order (l3); an empty book is one row without a side.
CREATE OR REPLACE VIEW book_snapshots AS
SELECT
    symbol, ts_recv, ts_event, held_ns, known_at(ts_recv, held_ns) AS ts_known,
    run_id, ordinal, sequence, book, origin, side, level, position, order_id,
    as_double(price_mantissa, price_scale) AS price,
    as_double(size_mantissa, size_scale) AS size,
    as_double(known_bid_from_mantissa, known_bid_from_scale) AS known_bid_from,
    as_double(known_ask_to_mantissa, known_ask_to_scale) AS known_ask_to,
    price_mantissa, price_scale, size_mantissa, size_scale,
    known_bid_from_mantissa, known_bid_from_scale, known_ask_to_mantissa, known_ask_to_scale,
    date
FROM parts_of_book_snapshots;
