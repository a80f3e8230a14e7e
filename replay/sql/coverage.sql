-- What is known of each symbol, stream and UTC day.
CREATE OR REPLACE MACRO coverage(symbol := NULL, ts_from := NULL, ts_to := NULL) AS TABLE
SELECT UNNEST(
    replay_coverage(
        symbol, ts_from::VARCHAR, typeof(ts_from), ts_to::VARCHAR, typeof(ts_to)
    ),
    recursive := true
);
