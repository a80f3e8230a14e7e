-- Every change of the best bid and offer in [ts_from, ts_to), first the state at `ts_from`.
CREATE OR REPLACE MACRO bbo(symbol, ts_from := NULL, ts_to := NULL) AS TABLE
SELECT UNNEST(
    replay_bbo(
        task, symbol, ts_from::VARCHAR, typeof(ts_from), ts_to::VARCHAR, typeof(ts_to)
    ),
    recursive := true
)
FROM replay_tasks;
