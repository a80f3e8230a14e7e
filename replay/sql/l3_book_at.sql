-- Resting orders after the last event known at `ts`, in queue order.
CREATE OR REPLACE MACRO l3_book_at(symbol, ts) AS TABLE
SELECT UNNEST(replay_l3_book_at(symbol, ts::VARCHAR, typeof(ts)), recursive := true);
