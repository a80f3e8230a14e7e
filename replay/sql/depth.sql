-- The best levels at every multiple of `every` in [ts_from, ts_to).
CREATE OR REPLACE MACRO depth(symbol, ts_from, ts_to, every := '1s', levels := 10) AS TABLE
SELECT UNNEST(
    replay_depth(
        task, symbol, ts_from::VARCHAR, typeof(ts_from), ts_to::VARCHAR, typeof(ts_to),
        every::VARCHAR, levels::BIGINT
    ),
    recursive := true
)
FROM replay_tasks;
