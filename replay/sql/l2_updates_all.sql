-- Every level change as stored, price-0 rows included: they only advance the sequence.
CREATE OR REPLACE VIEW l2_updates_all AS
SELECT
    symbol, ts_recv, ts_event, held_ns, known_at(ts_recv, held_ns) AS ts_known,
    run_id, ordinal, sequence, sequence_start, sequence_end, side,
    as_double(price_mantissa, price_scale) AS price,
    as_double(size_mantissa, size_scale) AS size,
    price_mantissa, price_scale, size_mantissa, size_scale, is_last,
    date
FROM parts_of_l2_updates;
