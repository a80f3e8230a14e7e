-- Level changes: size 0 removes the level.
CREATE OR REPLACE VIEW l2_updates AS
SELECT * FROM l2_updates_all WHERE price_mantissa <> 0;
