-- To version 6: the view names its journal, by the checksum of the first line.

ALTER TABLE view_state ADD COLUMN origin VARCHAR;
UPDATE view_state SET origin = '';
