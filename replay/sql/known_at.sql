-- When a row was known: its receipt plus the time it was held behind a later snapshot.
CREATE OR REPLACE MACRO known_at(ts_recv, held_ns) AS
    make_timestamp_ns(epoch_ns(ts_recv) + held_ns);
