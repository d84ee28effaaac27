-- From version 5 to 6: the view states whose journal it is a view of, by the checksum of the journal's first line.

ALTER TABLE view_state ADD COLUMN origin VARCHAR;
UPDATE view_state SET origin = '';
