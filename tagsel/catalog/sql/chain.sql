-- To version 4: the checksum at a position of the journal is text, since its lines are chained by SHA-256.

ALTER TABLE view_state ADD COLUMN chain VARCHAR;
UPDATE view_state SET chain = CASE WHEN bytes = 0 THEN '' ELSE printf('%08x', crc) END;
ALTER TABLE view_state DROP COLUMN crc;
