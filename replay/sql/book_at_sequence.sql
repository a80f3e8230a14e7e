-- The level-2 book after the last complete message that ends at or before sequence `n`.
CREATE OR REPLACE MACRO book_at_sequence(symbol, n, depth := 10) AS TABLE
SELECT UNNEST(replay_book_at_sequence(symbol, n::BIGINT, depth::BIGINT), recursive := true);
