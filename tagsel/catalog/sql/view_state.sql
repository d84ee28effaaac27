-- One row: the version of the tables, and the position in the journal up to which the view was applied.
-- No table has a primary key: rows are replaced by key in bulk, inside one transaction.
CREATE TABLE view_state (version BIGINT, seq BIGINT, bytes BIGINT, chain VARCHAR, origin VARCHAR);
INSERT INTO view_state VALUES (0, 0, 0, '', '');
