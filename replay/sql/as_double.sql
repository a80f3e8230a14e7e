-- mantissa / 10^scale as DOUBLE, correctly rounded: the division is of two exact doubles, else
-- the number goes through text.
CREATE OR REPLACE MACRO as_double(mantissa, scale) AS
    CASE
        WHEN mantissa BETWEEN -9007199254740991 AND 9007199254740991 AND scale BETWEEN 0 AND 22
            THEN mantissa::DOUBLE / pow(10.0::DOUBLE, scale)
        ELSE (mantissa::VARCHAR || 'e' || (-scale::INTEGER)::VARCHAR)::DOUBLE
    END;
