-- The level-2 book after the last complete message known at `ts`.
CREATE OR REPLACE MACRO book_at(symbol, ts, depth := 10) AS TABLE
SELECT UNNEST(
    replay_book_at(symbol, ts::VARCHAR, typeof(ts), depth::BIGINT), recursive := true
);
