-- Open, high, low, close and volumes of the trades in each `every` of [ts_from, ts_to).
CREATE OR REPLACE MACRO bars(symbol, ts_from, ts_to, every) AS TABLE
SELECT UNNEST(
    replay_bars(
        symbol, ts_from::VARCHAR, typeof(ts_from), ts_to::VARCHAR, typeof(ts_to), every::VARCHAR
    ),
    recursive := true
);
