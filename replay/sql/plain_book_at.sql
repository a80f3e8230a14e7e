-- The level-2 book at a time, without this program: the newest full book at or before it, then
-- the last change of every price since, up to the last complete message. Inside a gap: no rows.
-- Levels beyond the known depth of a partial book are not `known`: others may be missing. Where a
-- side shows none of those and yet fewer than `depth` levels, a row without price says so.
CREATE OR REPLACE MACRO book_at(of_symbol, at_ts, depth := 10) AS TABLE
WITH moment AS (
    SELECT epoch_ns(at_ts::TIMESTAMP_NS) AS instant
), stretch AS (
    SELECT c.run_id, c.ordinal_first, c.ordinal_last
    FROM coverage AS c, moment
    WHERE c.symbol = of_symbol AND c.stream = 'l2'
        AND epoch_ns(c.ts_from) <= instant AND epoch_ns(c.ts_to) >= instant
    ORDER BY c.ts_from DESC
    LIMIT 1
), seed AS (
    SELECT f.run_id, f.ordinal, f.origin, f.sequence, s.ordinal_last
    FROM full_books AS f JOIN stretch AS s ON f.run_id = s.run_id, moment
    WHERE f.symbol = of_symbol AND f.stream = 'l2' AND f.origin <> 'audit'
        AND f.ordinal BETWEEN s.ordinal_first AND s.ordinal_last AND epoch_ns(f.ts) <= instant
    ORDER BY f.ordinal DESC, f.ts DESC
    LIMIT 1
), told AS (
    SELECT u.*
    FROM parts_of_l2_updates AS u JOIN seed ON u.run_id = seed.run_id, moment
    WHERE u.symbol = of_symbol AND u.ordinal > seed.ordinal AND u.ordinal <= seed.ordinal_last
        AND epoch_ns(u.ts_recv) + u.held_ns <= instant
), finished AS (
    SELECT max(ordinal) AS ordinal, max(sequence_end) AS sequence FROM told WHERE is_last
), written AS (
    SELECT b.*
    FROM parts_of_book_snapshots AS b JOIN seed
        ON b.run_id = seed.run_id AND b.ordinal = seed.ordinal AND b.origin = seed.origin
    WHERE b.symbol = of_symbol AND b.book = 'l2'
), bounds AS (
    SELECT
        as_double(any_value(known_bid_from_mantissa), any_value(known_bid_from_scale)) AS bid_from,
        as_double(any_value(known_ask_to_mantissa), any_value(known_ask_to_scale)) AS ask_to
    FROM written
), levels AS (
    SELECT b.side, as_double(b.price_mantissa, b.price_scale) AS price,
        as_double(b.size_mantissa, b.size_scale) AS size,
        b.price_mantissa, b.price_scale, b.size_mantissa, b.size_scale, b.ordinal - 1 AS place
    FROM written AS b
    WHERE b.side IS NOT NULL
    UNION ALL
    SELECT t.side, as_double(t.price_mantissa, t.price_scale),
        as_double(t.size_mantissa, t.size_scale),
        t.price_mantissa, t.price_scale, t.size_mantissa, t.size_scale, t.ordinal
    FROM told AS t, finished
    WHERE t.ordinal <= finished.ordinal AND t.price_mantissa <> 0
), newest AS (
    SELECT side, price, arg_max(size, place) AS size,
        arg_max(price_mantissa, place) AS price_mantissa,
        arg_max(price_scale, place) AS price_scale,
        arg_max(size_mantissa, place) AS size_mantissa,
        arg_max(size_scale, place) AS size_scale
    FROM levels
    GROUP BY side, price
), ranked AS (
    SELECT side,
        row_number() OVER (
            PARTITION BY side ORDER BY CASE side WHEN 'bid' THEN -price ELSE price END
        )::INTEGER AS level,
        price, size, price_mantissa, price_scale, size_mantissa, size_scale
    FROM newest
    WHERE size_mantissa <> 0
), marked AS (
    SELECT ranked.*,
        CASE side WHEN 'bid' THEN coalesce(price >= bid_from, true)
            ELSE coalesce(price <= ask_to, true) END AS known
    FROM ranked, bounds
    WHERE level <= depth
), ends AS (
    SELECT side, bound, count(level) AS levels, coalesce(bool_and(known), true) AS all_known
    FROM (
        SELECT unnest(['bid', 'ask']) AS side, unnest([bid_from, ask_to]) AS bound FROM bounds
    ) LEFT JOIN marked USING (side)
    GROUP BY side, bound
), shown AS (
    SELECT * FROM marked
    UNION ALL BY NAME
    SELECT side, (levels + 1)::INTEGER AS level, false AS known
    FROM ends
    WHERE bound IS NOT NULL AND levels < depth AND all_known
)
SELECT shown.* EXCLUDE (known), coalesce(finished.sequence, seed.sequence) AS sequence, known
FROM shown, finished, seed
ORDER BY side DESC, level;
